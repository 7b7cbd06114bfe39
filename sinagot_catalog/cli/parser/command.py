"""Commands: the class of a verb, the classes of its parameters, and the types of their values."""

from __future__ import annotations

from math import inf
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import click

from sinagot_catalog.config import parse_duration
from sinagot_catalog.errors import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

# --- values ----------------------------------------------------------------------------------------------------


class OneOf(click.Choice[str]):
    """A word of a list; an error names the nearest ones."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Check a word."""
        choices = [str(choice) for choice in self.choices]
        if value in choices:
            return value
        is_path = isinstance(param, Argument) and "/" in value
        hint = f"; {value} is not a workspace: it has no workspace.toml" if is_path else ""
        near = did_you_mean(str(value), choices) or hint
        raise click.BadParameter(f"{value!r} is not one of {', '.join(choices)}{near}", ctx, param)


def _time_span(*, needs_unit: bool = False) -> Callable[[str], float]:
    """Return the type of a duration."""

    def parse(text: str) -> float:
        try:
            return parse_duration(text, needs_unit=needs_unit)
        except ValueError as error:
            raise click.BadParameter(str(error)) from None

    return parse


duration = _time_span()
age = _time_span(needs_unit=True)


def _whole_number(what: str, least: int = 1, most: float = inf) -> Callable[[str], int]:
    """Return the type of a whole number; an error says what it should be."""

    def parse(text: str) -> int:
        if not text.isdecimal() or not least <= int(text) <= most:
            raise click.BadParameter(f"{text!r} is not {what}")
        return int(text)

    return parse


count = _whole_number("a number of rows", least=0)
numbered = _whole_number("a whole number from 1 up")
n_processes = _whole_number("a number of processes from 1 up; by default one per core")
n_failures = _whole_number("a number of failures from 1 up")
port = _whole_number("a port: a number from 0 to 65535", least=0, most=65_535)


def names(text: str) -> list[str]:
    """Parse names, which commas separate."""
    return [name.strip() for name in text.split(",") if name.strip()]


def _stale(text: str) -> bool | str:
    """Parse the value of `--stale`."""
    if text not in ("inputs", "code"):
        raise click.BadParameter(f"{text!r} is not 'code'{did_you_mean(text, ['code'])}")
    return True if text == "inputs" else text


# --- parameters ------------------------------------------------------------------------------------------------


def _candidates(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Return the candidates for a value, from the workspace."""
    from sinagot_catalog.cli.parser.candidates import values_of

    return values_of(param, ctx, incomplete)


class Option(click.Option):
    """An option: its help is listed in a group, its values are completed from the workspace.

    A repeated option has a list as its value, or None if it is not given. The help leaves out its old names.
    """

    def __init__(self, *names: str, group: str = "options", old: Sequence[str] = (), **more: Any) -> None:
        super().__init__([*names, *old], shell_complete=_candidates, **more)
        self.group = group
        self.old = old
        if self.multiple and not self.callback:
            self.callback = lambda _ctx, _param, values: list(values or ()) or None


class Argument(click.Argument):
    """A positional argument with a help text; its values are completed from the workspace."""

    def __init__(self, name: str, metavar: str, *, about: str = "", **more: Any) -> None:
        super().__init__([name], metavar=metavar, shell_complete=_candidates, **more)
        self.about = about


def _is_workspace(word: str) -> bool:
    """Whether a word is a folder with a config, a toml or a URL."""
    from pathlib import Path

    path = Path(word)
    return "://" in word or (path / "workspace.toml").is_file() or (path.suffix == ".toml" and path.is_file())


def _takes_value(param: click.Parameter) -> bool:
    return isinstance(param, click.Option) and not param.is_flag


def flag(*names: str, **more: Any) -> Option:
    """Declare an option without a value."""
    return Option(*names, is_flag=True, **more)


PASSED_ON = Option("--passed-on", multiple=True, hidden=True)
"""The words after `--`, which another program gets."""

STALE = Option(
    "--stale", metavar="[=code]", type=_stale, group="which rows",
    help="also rows that are stale by an input, a version or parameters; with =code also by a changed script",
)  # fmt: skip

_UNBROKEN = "\N{NON-BREAKING HYPHEN}"


# --- commands --------------------------------------------------------------------------------------------------


class _Formatter(click.HelpFormatter):
    """Help that is broken between words only: click breaks options at their hyphens, too."""

    def write(self, string: str) -> None:
        """Write a text with its hyphens."""
        super().write(string.replace(_UNBROKEN, "-"))

    def write_text(self, text: str) -> None:
        """Write a paragraph."""
        super().write_text(text.replace("-", _UNBROKEN))

    def write_dl(self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        """Write names with their texts."""
        super().write_dl([(name, text.replace("-", _UNBROKEN)) for name, text in rows], col_max, col_spacing)

    def write_examples(self, text: str) -> None:
        """Write commands, each on one line; if there is no room beside a command, its text goes below it."""
        for line in text.splitlines():
            command, _, about = line.strip().partition("   ")
            has_room = len(line) <= self.width or not about
            self.write(f"{line}\n" if has_room else f"  {command}\n      {about.strip()}\n")


class Context(click.Context):
    """A call of the program or of a verb."""

    formatter_class = _Formatter


class Command(click.Command):
    """A verb. Its function gets all values as attributes of one object, and returns the exit code."""

    context_class = Context

    def __init__(
        self, run: Callable[[Any], int], about: str, examples: str, params: Sequence[click.Parameter]
    ) -> None:
        super().__init__(run.__name__, params=list(params), help=about, short_help=about)
        self.run = run
        self.examples = examples

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the words after the verb; refuse superfluous words."""
        passed: list[str] = []
        if PASSED_ON in self.params and "--" in args:
            cut = args.index("--")
            args, passed = args[:cut], args[cut + 1 :]
        if STALE in self.params:  # a separate word after a bare --stale could be the workspace
            args = ["--stale=inputs" if word == "--stale" else word for word in args]
        if (
            ctx.resilient_parsing
            and args
            and any(args[-1] in param.opts for param in self.params if _takes_value(param))
        ):
            args = [*args, ""]  # the value is being completed; without one, no argument would be parsed
        place = None
        if self._takes_workspace_last and not ctx.resilient_parsing:
            args, place = self._without_workspace(args)
        rest = super().parse_args(ctx, args)
        if place is not None:
            ctx.params["place"] = place
        if passed:
            ctx.params["passed_on"] = passed
        return rest

    @property
    def _takes_workspace_last(self) -> bool:
        """Whether the last word may name the workspace, although the verb has other arguments."""
        names = {param.name for param in self.params}
        return "workspace" in names and "place" not in names

    def _without_workspace(self, args: list[str]) -> tuple[list[str], str | None]:
        """Split off the last argument if it names a workspace. A URL that another argument needs does not."""
        valued = {name for param in self.params if _takes_value(param) for name in param.opts}
        places = []
        rest = iter(enumerate(args))
        for index, word in rest:
            if word in valued:
                next(rest, None)
            elif not word.startswith("-"):
                places.append(index)
        needed = sum(isinstance(param, Argument) and param.required for param in self.params)
        last = args[places[-1]] if places else None
        if last is None or not _is_workspace(last) or ("://" in last and len(places) <= needed):
            return args, None
        return [*args[: places[-1]], *args[places[-1] + 1 :]], last

    def invoke(self, ctx: click.Context) -> int:
        """Run the verb."""
        before = ctx.parent.params if ctx.parent else {}
        given = dict(ctx.params)
        for name in ("workspace", "trust"):
            given[name] = given.get(name) or before.get(name)
        given["config"] = [*(before.get("config") or []), *(given.get("config") or [])]
        forms = [name for name in ("json", "csv", "parquet") if given.get(name)]
        if len(forms) > 1:
            raise click.UsageError(f"--{forms[1]}: not allowed with argument --{forms[0]}", ctx)
        return self.run(SimpleNamespace(**given))

    def format_help(self, ctx: click.Context, formatter: _Formatter) -> None:  # type: ignore[override]
        """Write the help: usage, the sentence about the verb, its parameters by group, examples."""
        arguments = [
            argument for argument in self.params if isinstance(argument, Argument) and argument.metavar
        ]
        words = " ".join(
            argument.metavar or "" if argument.required else f"[{argument.metavar}]" for argument in arguments
        )
        words += " [WORKSPACE]" if self._takes_workspace_last else ""
        formatter.write(f"usage: {ctx.command_path} [options] {words}".rstrip() + "\n\n")
        formatter.write_text(self.help or "")
        if described := [
            (argument.metavar or "", argument.about) for argument in arguments if argument.about
        ]:
            with formatter.section("arguments"):
                formatter.write_dl(described)
        write_options(self, ctx, formatter)
        for paragraph in self.examples.split("\n\n"):
            formatter.write_paragraph()
            if paragraph.startswith("examples:"):
                formatter.write_examples(paragraph)
            else:
                formatter.write_text(paragraph)


def write_options(command: click.Command, ctx: click.Context, formatter: click.HelpFormatter) -> None:
    """Write the options of a command, group by group."""
    groups: dict[str, list[tuple[str, str]]] = {"options": []}
    for param in command.get_params(ctx):
        record = None if isinstance(param, Argument) else param.get_help_record(ctx)
        if record and "--help" in param.opts:
            record = (record[0], "show this help")
        for name in getattr(param, "old", ()):
            record = record and (record[0].replace(f", {name}", ""), record[1])
        if record:
            groups.setdefault(getattr(param, "group", "options"), []).append(record)
    for name, records in groups.items():
        with formatter.section(name):
            formatter.write_dl(records)


def verb(
    about: str, examples: str, *params: click.Parameter | Sequence[click.Parameter]
) -> Callable[[Callable[[Any], int]], Command]:
    """Make a verb of a function; its name is the verb.

    Args:
        about: One sentence.
        examples: The end of the help: examples, and what programs get.
        params: Arguments and options, in the order of the help; lists of them are flattened.
    """

    def decorate(function: Callable[[Any], int]) -> Command:
        flat = [param for some in params for param in ([some] if isinstance(some, click.Parameter) else some)]
        if not any(param.name == "debug" for param in flat):
            flat.append(flag("--debug", help="show the traceback of an error"))
        return Command(function, about, f"examples:\n{examples.strip(chr(10))}", flat)

    return decorate
