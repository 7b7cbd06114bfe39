"""Command steps, which run a program: `[steps.NAME] command = "Rscript clean.R {input} {output}"`.

The library splits the text into arguments as a shell does, then fills in each argument: a file name with spaces or
`$()` stays one argument. It starts no shell. Standard library only, like `script`.
"""

import os
import re
import select
import shlex
import signal
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

from sinagot_catalog.errors import PatternError, SinagotError, did_you_mean
from sinagot_catalog.patterns import IdPattern, is_table
from sinagot_catalog.scripts.parameters import Parameters, to_json
from sinagot_catalog.scripts.row_output import Tee
from sinagot_catalog.scripts.script import ScriptTemplate, flat

_PLACEHOLDER = re.compile(r"\{\{([^{}]*)\}\}|\{([^{}]*)\}")
_TAIL = 8 * 1024
_GRACE = 1.0
_FOREVER = 1e9

Argument = tuple[tuple[str, str], ...]
"""`("text", literal)` and `("field", name)` in order."""


class CommandError(SinagotError):
    """A program could not be started, or ended with an error.

    Attributes:
        error_type: `CommandFailed` or `CommandNotFound`.
    """

    def __init__(self, message: str, error_type: str = "CommandFailed") -> None:
        super().__init__(message)
        self.error_type = error_type


def parse_command(text: str, names: Collection[str] | None = None) -> tuple[Argument, ...]:
    """Split a command into arguments, each with its placeholders.

    A name in braces is a placeholder, and so is `{input.label}`; `{{name}}` stands for `{name}`, and other braces
    are literal.

    Args:
        text: The command.
        names: The placeholders that are allowed; None allows all.

    Raises:
        PatternError: When the text cannot be split, names no program, or has an unknown placeholder.

    Example:
        >>> parse_command("cp 'my file' {input} --to={output.a}")[1:]
        ((('text', 'my file'),), (('field', 'input'),), (('text', '--to='), ('field', 'output.a')))
    """
    try:
        words = shlex.split(text, posix=True)
    except ValueError as error:
        raise PatternError(f"{text!r} cannot be split into arguments: {str(error).lower()}") from None
    if not words or not words[0]:
        raise PatternError("the command is empty")
    arguments = tuple(tuple(_pieces(word, names)) for word in words)
    if any(kind == "field" for kind, _ in arguments[0]):
        raise PatternError(f"{words[0]!r} cannot be the program: which one is run depends on no record")
    return arguments


def _pieces(word: str, names: Collection[str] | None) -> Iterator[tuple[str, str]]:
    end = 0
    for match in _PLACEHOLDER.finditer(word):
        literal, name = match[1], match[2]
        name_like = (name if literal is None else literal).partition(".")[0].isidentifier()
        if not name_like:
            continue
        if not (names is None or name is None or name in names or name.startswith("record.")):
            known = f"; known here: {', '.join(names)}"
            raise PatternError(
                f"unknown placeholder {{{name}}}{did_you_mean(name, names, most=1) or known}",
                f"A name in double braces is not filled in: {{{{{name}}}}}.",
            )
        if match.start() > end:
            yield "text", word[end : match.start()]
        yield ("field", name) if literal is None else ("text", f"{{{literal}}}")
        end = match.end()
    if end < len(word) or not word:
        yield "text", word[end:]


def path_names(patterns: Mapping[str, object]) -> list[str]:
    """The placeholders for the paths of a step: `role` for a single path, `role.label` for each path of a dict.

    Example:
        >>> path_names({"input": {"a": "x/{id}", "b": "y/{id}"}, "output": "z/{id}", "control": None})
        ['input.a', 'input.b', 'output']
    """
    names: list[str] = []
    for role, pattern in patterns.items():
        if isinstance(pattern, Mapping) and not is_table(pattern):
            names += [f"{role}.{label}" for label in pattern]
        elif pattern:
            names.append(role)
    return names


class CommandScript(ScriptTemplate):
    """Runs a program for one record.

    The program runs in the scripts folder, so that it finds files beside the scripts by name. Its output is
    recorded like the output of a script, and an exit code other than 0 is an error. It stays in the process group
    of its worker, so it ends when that group is killed.

    Attributes:
        arguments: The program and its arguments, with their placeholders.
        folder: The working directory of the program.
        ids: The id pattern, which gives the values of the named groups of an id.
    """

    arguments: ClassVar[tuple[Argument, ...]]
    folder: ClassVar[str]
    ids: ClassVar[IdPattern]

    def run(self) -> None:
        """Start the program and wait for its end.

        Raises:
            CommandError: When the program cannot be started, or ends with an exit code other than 0.
        """
        command = self._command()
        code, tail = _run(command, self.folder)
        if code:
            name = Path(command[0]).name
            lines = tail.decode("utf-8", "replace").strip().splitlines()
            told = f": {lines[-1].strip()}" if lines else ""
            raise CommandError(f"{name} {_ended(code)}{told}")

    def _command(self) -> list[str]:
        """The program and its arguments, filled in."""
        values = self._values()
        for kind, name in (piece for argument in self.arguments for piece in argument):
            if kind == "field" and name not in values:
                values[name] = self._parameter(name)
        return [word for argument in self.arguments for word in _words(argument, values)]

    def _values(self) -> dict[str, list[str]]:
        """The words for each placeholder: one for each of many files, none for an input that is absent."""
        fields = self.ids.values_of(self.id, self.BY) or {"id": self.id}
        fields = {**fields, "task": self.task or "", "modality": self.modality or ""}
        values = {name: [value] for name, value in fields.items()}
        for role in ("input", "output", "control"):
            paths = getattr(self.path, role)
            if isinstance(paths, Mapping):
                values |= {f"{role}.{label}": [*map(str, flat(path))] for label, path in paths.items()}
            else:
                values[role] = [*map(str, flat(paths))]
        return values

    def _parameter(self, name: str) -> list[str]:
        """The words of a parameter, or of a value of the record: one for each item of a list."""
        group, _, rest = name.partition(".")
        value: Any = self.params if group == "params" else self.record
        for key in rest.split("."):
            value = value[key]
        if isinstance(value, Parameters):
            raise PatternError(f"{{{name}}} is a table: name one of its keys, {', '.join(value)}")
        return [_word(word) for word in (value if isinstance(value, list) else [value])]


def _word(value: object) -> str:
    """A parameter as a word of a command: a text as it is, else as JSON has it."""
    if isinstance(value, str):
        return value
    return "" if value is None else to_json(value).strip('"')


def command_script(text: str, folder: str, ids: IdPattern, **attributes: Any) -> type[CommandScript]:
    """Make the script class of a command.

    Args:
        text: The command.
        folder: The working directory; if it does not exist, the nearest existing folder above it.
        ids: The id pattern of the workspace.
        attributes: Further attributes of the class, such as `PATH_IN`.
    """
    made = {"arguments": parse_command(text), "folder": folder, "ids": ids, "__doc__": text, **attributes}
    return type("Script", (CommandScript,), made)


def _words(argument: Argument, values: Mapping[str, list[str]]) -> list[str]:
    """The words of one argument: one for each of many files, none if an optional input is absent."""
    words = [""]
    for kind, value in argument:
        words = [word + end for word in words for end in ([value] if kind == "text" else values[value])]
    return words


def _run(command: list[str], folder: str) -> tuple[int, bytes]:
    """Run a program to its end; returns its exit code and the end of its standard error."""
    place = Path(folder).absolute()
    cwd = next((folder for folder in (place, *place.parents) if folder.is_dir()), place)
    try:
        process = subprocess.Popen(  # noqa: S603 the workspace's config defines the command; no shell
            command,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if isinstance(sys.stdout, Tee) else None,
            stderr=subprocess.PIPE,
        )
    except OSError as error:
        raise CommandError(_unstarted(command[0], cwd, error), "CommandNotFound") from None
    with process:
        try:
            said = _forward(process)
            # With a time-out: Polars' handler of SIGINT would otherwise delay Ctrl-C until the program ends.
            return process.wait(_FOREVER), said
        except BaseException:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(_GRACE)
            process.kill()
            raise


def _forward(process: subprocess.Popen[bytes]) -> bytes:
    """Forward the output of a program as it arrives; returns the end of its standard error.

    Does not wait for processes that the program left running.
    """
    assert process.stderr is not None  # noqa: S101 it is a pipe
    errors = process.stderr.fileno()
    pipes = {errors: (2, sys.stderr)}
    if process.stdout is not None:
        pipes[process.stdout.fileno()] = (1, sys.stdout)
    poll = select.poll()
    for pipe in pipes:
        poll.register(pipe, select.POLLIN)
    tail = b""
    while pipes:
        ready = poll.poll(100)
        for pipe, _ in ready:
            piece = os.read(pipe, 1 << 16)
            if not piece:
                poll.unregister(pipe)
                del pipes[pipe]
                continue
            if pipe == errors:
                tail = (tail + piece)[-_TAIL:]
            with suppress(OSError):
                _pass_on(piece, *pipes[pipe])
        if not ready and process.poll() is not None:
            break
    return tail


def _pass_on(piece: bytes, fd: int, stream: Any) -> None:
    if isinstance(stream, Tee):
        stream.write(piece.decode("utf-8", "replace"))
        return
    while piece:
        piece = piece[os.write(fd, piece) :]


def _unstarted(program: str, cwd: Path, error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        where = f"in {cwd}" if "/" in program else "on PATH"
        return f"the program {program!r} is not found {where}: install it, or give its path in the step's command"
    return f"the program {program!r} cannot be started: {(error.strerror or str(error)).lower()}"


def _ended(code: int) -> str:
    """The exit code of a program as a clause.

    Example:
        >>> _ended(1), _ended(-9)
        ('ended with exit code 1', 'was ended by signal 9 (killed)')
    """
    if code > 0:
        return f"ended with exit code {code}"
    return f"was ended by signal {-code} ({(signal.strsignal(-code) or 'unknown').lower()})"
