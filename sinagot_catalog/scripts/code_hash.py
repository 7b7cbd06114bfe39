"""Code hashes of steps, which do not change with comments, docstrings and spacing. Standard library only.

The hash of a script covers the modules of the scripts folder that it imports, and their imports in turn. It is made
of the source text of the tokens, cut out by position, so that every supported Python gives the same hash. The hash
of a command covers its words, and the content of words that name files in the scripts folder.
"""

import ast
import importlib.machinery
import io
import os
import shlex
import sys
import tokenize
from collections.abc import Iterator, Sequence
from contextlib import suppress
from hashlib import blake2b
from typing import NamedTuple

from sinagot_catalog.scripts.importer import SOURCE_BOUND, is_step
from sinagot_catalog.scripts.static_reader import FaultError, parse
from sinagot_catalog.storage import file_stamp, read_regular

_BYTES = 8
_INDENT, _DEDENT = "\x01", "\x02"
_OPEN, _CLOSE = frozenset("([{"), frozenset(")]}")


class _File(NamedTuple):
    """The hash of a file; of a module also what it may import, and whether it is a step script."""

    digest: str
    imports: tuple[str, ...] = ()
    is_step: bool = False


def source_hash(source: bytes) -> str:
    r"""The hash of one Python file; a file that cannot be parsed is hashed byte by byte.

    Example:
        >>> source_hash(b"def f(x):\n    '''Add one.'''\n    return x + 1  # more\n")
        'dc3f62d4195dc628'
        >>> source_hash(b"def f( x ):\n    return (\n        x + 1)\n") == source_hash(b"def f(x): return (x + 1)")
        False
        >>> source_hash(b"def f( x ):\n\n    return x+1\n")
        'dc3f62d4195dc628'
    """
    if _tree(source) is not None:
        try:
            text = _decoded(source)
            return _digest("\0".join(_normalised(text)).encode("utf-8", "surrogatepass"))
        except (tokenize.TokenError, SyntaxError, ValueError):
            pass
    return _digest(source)


def _digest(content: bytes) -> str:
    return blake2b(content, digest_size=_BYTES).hexdigest()


def _tree(source: bytes) -> ast.Module | None:
    with suppress(FaultError):
        return parse(source)
    return None


def _decoded(source: bytes) -> str:
    encoding, _ = tokenize.detect_encoding(io.BytesIO(source).readline)
    return source.decode(encoding).replace("\r\n", "\n").replace("\r", "\n")


# --- tokens --------------------------------------------------------------------------------------------------


def _normalised(text: str) -> Iterator[str]:
    """The text of the significant tokens, statement by statement."""
    statement: list[str] = []
    for part in _tokens(text):
        if part in ("\n", ";", _INDENT, _DEDENT):
            kept = _without_docstring(statement)
            if kept:
                yield from kept
                yield "\n"
            statement = []
            if part in (_INDENT, _DEDENT):
                yield part
        else:
            statement.append(part)
    yield from _without_docstring(statement)


def _tokens(text: str) -> Iterator[str]:
    """The text of each token; an f-string is one token, as it was before Python 3.12."""
    lines = text.split("\n")
    depth, start = 0, (0, 0)
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        name = tokenize.tok_name[token.type]
        if name.endswith("STRING_START"):
            start = start if depth else token.start
            depth += 1
        elif name.endswith("STRING_END"):
            depth -= 1
            if not depth:
                yield _between(lines, start, token.end)
        elif depth or name in ("COMMENT", "NL", "ENDMARKER"):
            continue
        elif name in ("NEWLINE", "INDENT", "DEDENT"):
            yield {"NEWLINE": "\n", "INDENT": _INDENT, "DEDENT": _DEDENT}[name]
        else:
            yield token.string


def _between(lines: Sequence[str], start: tuple[int, int], end: tuple[int, int]) -> str:
    """The text from one position to another; rows count from 1."""
    (row, column), (last, upto) = start, end
    if row == last:
        return lines[row - 1][column:upto]
    return "\n".join([lines[row - 1][column:], *lines[row : last - 1], lines[last - 1][:upto]])


def _without_docstring(statement: Sequence[str]) -> Sequence[str]:
    """A statement without an unused string, which is all of it or the body of a one-line function or class."""
    if all(map(_is_text, statement)):
        return ()
    if statement[0] in ("def", "class", "async"):
        depth, colon = 0, len(statement)
        for at, part in enumerate(statement):
            depth += (part in _OPEN) - (part in _CLOSE)
            if part == ":" and not depth:
                colon = at
        if all(map(_is_text, statement[colon + 1 :])):
            return statement[: colon + 1]
    return statement


def _is_text(token: str) -> bool:
    """Whether a token is a string literal without expressions: no f-string."""
    quote = min((at for at in map(token.find, "'\"") if at >= 0), default=-1)
    prefix = token[: max(quote, 0)].lower()
    return quote >= 0 and len(prefix) <= 2 and prefix in ("", "r", "u", "b", "br", "rb")  # noqa: PLR2004


# --- files ---------------------------------------------------------------------------------------------------


class CodeHashes:
    """Code hashes of steps, cached; a file is read again when its time or size has changed."""

    def __init__(self) -> None:
        self._files: dict[tuple[str, str | None], tuple[tuple[int, int] | None, _File]] = {}

    def of_script(self, script: str, scripts: str) -> str | None:
        """The hash of a script and of what it imports from the scripts folder; None if it cannot be read.

        Args:
            script: The path of the script.
            scripts: The scripts folder.
        """
        folders = tuple(dict.fromkeys([os.path.dirname(script), scripts]))  # noqa: PTH120 - paths are text here
        own = self._file(script, "")
        if own is None:
            return None
        files = {script: own}
        waiting = list(own.imports)
        while waiting:
            path_and_package = _find(waiting.pop(), folders)
            if path_and_package is None or path_and_package[0] in files:
                continue
            path, package = path_and_package
            file = self._file(path, package)
            if file is not None and not (file.is_step and _is_installed(path)):
                files[path] = file
                waiting += file.imports
        lines = sorted(f"{os.path.relpath(path, scripts)}\0{file.digest}" for path, file in files.items())
        return _digest("\n".join(lines).encode("utf-8", "surrogateescape"))

    def of_command(self, command: str, scripts: str) -> str:
        """The hash of a command: its words, and the content of words that name files in the scripts folder.

        Args:
            command: The text of the command.
            scripts: The scripts folder.
        """
        try:
            words = shlex.split(command)
        except ValueError:
            words = [command]
        parts = [part for word in words for part in (word, self._content_hash(word, scripts))]
        return _digest("\0".join(parts).encode("utf-8", "surrogateescape"))

    def _file(self, path: str, package: str | None) -> _File | None:
        """The hash of a module of a package, or of any file (without a package); None if it cannot be read."""
        stamp = file_stamp(path)
        known = self._files.get((path, package))
        if known is None or known[0] != stamp:
            try:
                content = read_regular(path) if package is None else read_regular(path, SOURCE_BOUND)
            except OSError:
                return None
            file = _File(_digest(content)) if package is None else _module(content, package)
            known = self._files[path, package] = stamp, file
        return known[1]

    def _content_hash(self, word: str, scripts: str) -> str:
        """The hash of the file that a word of a command names; empty if it names no file in the scripts folder."""
        base = os.path.realpath(scripts)
        path = os.path.realpath(os.path.join(base, word))  # noqa: PTH118 - a word may be absolute
        file = self._file(path, None) if path.startswith(f"{base}/") else None
        return "" if file is None else file.digest


def _module(source: bytes, package: str) -> _File:
    tree = _tree(source)
    imports = () if tree is None else tuple(sorted(_imports(tree, package)))
    return _File(source_hash(source), imports, is_step(source))


def _is_installed(script: str) -> bool:
    """Whether an installed package has the name of a step script: an import finds the package then."""
    name = os.path.basename(script).removesuffix(".py")  # noqa: PTH119
    try:
        return importlib.machinery.PathFinder.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def _imports(tree: ast.Module, package: str) -> set[str]:
    """The names of the modules that a file may import, and of the packages that contain them."""
    names = set[str]()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".") if package else []
            above = parts[: max(0, len(parts) - node.level + 1)] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            names.add(base)
            names.update(f"{base}.{alias.name}" if base else alias.name for alias in node.names)
    every = {".".join(name.split(".")[:count]) for name in names for count in range(1, name.count(".") + 2)}
    return {name for name in every if name and name.partition(".")[0] not in sys.stdlib_module_names}


def _find(name: str, folders: Sequence[str]) -> tuple[str, str] | None:
    """The file of a module, in the first folder that has it, and the module's package."""
    for folder in folders:
        path = f"{folder}/{name.replace('.', '/')}"
        for file, package in ((f"{path}/__init__.py", name), (f"{path}.py", name.rpartition(".")[0])):
            if os.path.isfile(file):  # noqa: PTH113
                return file, package
    return None
