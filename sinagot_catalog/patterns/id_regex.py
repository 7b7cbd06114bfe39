"""Id regular expressions: translates an id pattern from Python to Rust, and checks whole columns of ids.

A pattern is translated only if both engines give it the same meaning. Python's engine matches all other patterns,
once for each distinct id.
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import polars as pl

from sinagot_catalog.errors import PatternError
from sinagot_catalog.patterns.fields import inside, parse_regex
from sinagot_catalog.patterns.id_pattern import IdPattern
from sinagot_catalog.startup import dataclass

CONTROLS = r"\x00-\x1f\x7f-\x{9f}"
"""Control characters, as the content of a Rust character class."""
_FEW = 16
"""A repeat whose bounds differ by no more than this is bounded; any other is open-ended."""


def fitting(texts: pl.Series, ids: IdPattern) -> pl.Series:
    """Whether each text is a record id."""
    rust = rust_of(ids)
    if rust is None:
        return _fitting_slowly(texts, ids)
    text = pl.col("text")
    fits = text.str.contains(rust.text)
    if rust.odd:
        fits &= ~text.is_in(rust.odd)
    if rust.dotted:
        groups = text.str.extract_groups(rust.text).struct
        for name in rust.dotted:
            fits &= ~groups.field(name).is_in([".", ".."]).fill_null(value=False)
    told = texts.to_frame("text").select(fits.alias("fits"), is_wide(text, rust).alias("wide"))
    wide = told["wide"]
    if wide.any():
        return told["fits"].zip_with(~wide, _fitting_slowly(texts, ids, only=wide))
    return told["fits"]


def _refuse_endless(ids: IdPattern, *, with_branches: bool) -> None:
    """Refuse nested repeats: Python's engine may run forever on them.

    Raises:
        PatternError: With a suggestion what to write instead.
    """
    if _repeats_within(parse_regex(ids.text), with_branches=with_branches, is_repeated=False):
        raise PatternError(
            f"id_pattern {ids.text!r} repeats what is itself repeated, and one name can keep it busy for ever",
            "Write 'a+' for '(a+)+'; without look-around, back-references and names beyond ASCII it would do.",
        )


def _repeats_within(nodes: Any, *, with_branches: bool, is_repeated: bool) -> bool:
    """Whether a parse tree has an open-ended repeat, or alternatives, inside an open-ended repeat."""
    for kind, value in nodes:
        is_open = str(kind) in ("MAX_REPEAT", "MIN_REPEAT") and int(value[1]) - int(value[0]) > _FEW
        if is_repeated and (is_open or (with_branches and str(kind) == "BRANCH")):
            return True
        within = is_repeated or is_open
        if any(
            _repeats_within(inner, with_branches=with_branches, is_repeated=within) for inner in inside(value)
        ):
            return True
    return False


def _fitting_slowly(texts: pl.Series, ids: IdPattern, only: pl.Series | None = None) -> pl.Series:
    """The same with Python's regular expressions, once for each distinct text."""
    _refuse_endless(ids, with_branches=only is None)
    unique = (texts if only is None else texts.filter(only)).unique()
    kept = unique.filter(pl.Series([ids.values(text) is not None for text in unique], dtype=pl.Boolean))
    return texts.is_in(kept.implode())


def is_wide(text: pl.Expr, rust: "Rust") -> pl.Expr:
    """Whether a text goes beyond ASCII, where classes of the two engines differ; never if no class is used."""
    return pl.lit(value=False) if rust.is_exact else text.str.len_bytes() != text.str.len_chars()


@dataclass(frozen=True)
class Rust:
    """An id pattern as a regular expression of Rust.

    Attributes:
        text: Anchored; unnamed groups do not capture.
        is_exact: It has the same meaning beyond ASCII, too.
        has_groups: Its named groups capture the same text as Python's.
        odd: Texts that it matches and that are no ids, such as `..`.
        named: Each named group as a separate expression.
        dotted: The named groups that may match `.` or `..`, which no field of an id may be.
    """

    text: str
    is_exact: bool
    has_groups: bool
    odd: tuple[str, ...]
    dotted: tuple[str, ...]
    named: dict[str, str]


class _UnlikeError(Exception):
    """The two engines may differ in this construct."""


@lru_cache(maxsize=64)
def rust_of(ids: IdPattern) -> Rust | None:
    """Translate an id pattern, or return None if the two engines may differ.

    Python's own parse tree is written as a Rust expression. Only constructs that are known to have the same meaning
    are translated: literals, classes, alternatives, groups and bounded repeats. For ASCII texts both engines match
    these alike. A class never matches `/` or a control character: no id contains them.
    """
    allowed = re.UNICODE | re.VERBOSE | re.ASCII
    if ids.regex.flags & ~int(allowed):
        return None
    writer = _Writer({number: name for name, number in ids.regex.groupindex.items()})
    try:
        parsed = list(parse_regex(ids.text))
        text = rf"\A(?:{writer.sequence(_unanchored(parsed), is_repeated=False)})\z"
        pl.Series([""]).str.contains(text)
    except (ImportError, _UnlikeError, RecursionError, pl.exceptions.ComputeError):
        return None
    odd = tuple(name for name in ("", ".", "..") if ids.regex.fullmatch(name))
    some = pl.Series([".", ".."])
    dotted = tuple(name for name, item in writer.named.items() if some.str.contains(rf"\A(?:{item})\z").any())
    if dotted and not writer.has_groups:
        return None
    return Rust(text, writer.is_exact, writer.has_groups, odd, dotted, writer.named)


Node = tuple[Any, Any]


def _unanchored(parsed: list[Node]) -> list[Node]:
    """Leave out `^` at the very start and `$` at the very end: the whole id is matched anyway."""
    if parsed and _named(parsed[0]) in (("AT", "AT_BEGINNING"), ("AT", "AT_BEGINNING_STRING")):
        parsed = parsed[1:]
    if parsed and _named(parsed[-1]) in (("AT", "AT_END"), ("AT", "AT_END_STRING")):
        parsed = parsed[:-1]
    return parsed


def _named(node: Node) -> tuple[str, str]:
    return str(node[0]), str(node[1])


_CLASSES = {
    "CATEGORY_DIGIT": "0-9",
    "CATEGORY_WORD": "0-9A-Za-z_",
    "CATEGORY_SPACE": r"\x09-\x0d\x1c-\x20",
    "CATEGORY_NOT_DIGIT": "[^0-9]",
    "CATEGORY_NOT_WORD": "[^0-9A-Za-z_]",
    "CATEGORY_NOT_SPACE": r"[^\x09-\x0d\x1c-\x20]",
}


def character(code: int) -> str:
    """One character in the syntax of Rust's regular expressions."""
    return rf"\x{{{code:x}}}"


class _Writer:
    """Writes Python's parse tree of a regular expression as a Rust expression."""

    def __init__(self, groups: dict[int, str]) -> None:
        self.groups = groups
        self.is_exact = True
        self.has_groups = True
        self.named: dict[str, str] = {}

    def sequence(self, nodes: Iterable[Node], *, is_repeated: bool) -> str:
        return "".join(self.node(kind, value, is_repeated=is_repeated) for kind, value in nodes)

    def node(self, kind: Any, value: Any, *, is_repeated: bool) -> str:
        match str(kind):
            case "LITERAL" if chr(value) != "/" and chr(value).isprintable():
                text = character(value)
            case "NOT_LITERAL":
                text = self._other(character(value))
            case "ANY":
                text = self._other("")
            case "IN":
                text = self._class(value)
            case "BRANCH":
                options = [self.sequence(branch, is_repeated=is_repeated) for branch in value[1]]
                text = f"(?:{'|'.join(options)})"
            case "SUBPATTERN":
                text = self._group(*value, is_repeated=is_repeated)
            case "MAX_REPEAT" | "MIN_REPEAT":
                text = self._repeat(*value, is_lazy=str(kind) == "MIN_REPEAT")
            case _:
                raise _UnlikeError
        return text

    def _other(self, text: str) -> str:
        """A class of any characters but these."""
        self.is_exact = False
        return rf"[^{text}/{CONTROLS}]"

    def _class(self, items: list[Node]) -> str:
        names = [_named(item) for item in items]
        is_negated = names[0][0] == "NEGATE"
        text = "".join(self._item(kind, value) for kind, value in items[is_negated:])
        self.is_exact &= not is_negated
        return rf"[[{'^' if is_negated else ''}{text}]&&[^/{CONTROLS}]]"

    def _item(self, kind: Any, value: Any) -> str:
        if str(kind) == "LITERAL":
            return character(value)
        if str(kind) == "RANGE":
            if not chr(value[1]).isascii():
                raise _UnlikeError
            return f"{character(value[0])}-{character(value[1])}"
        if str(kind) == "CATEGORY" and str(value) in _CLASSES:
            self.is_exact = False
            return _CLASSES[str(value)]
        raise _UnlikeError

    def _group(
        self, number: int | None, add: int, drop: int, inner: Iterable[Node], *, is_repeated: bool
    ) -> str:
        if add or drop:
            raise _UnlikeError
        text = self.sequence(inner, is_repeated=is_repeated)
        name = self.groups.get(number) if number is not None else None
        # The engines may capture different iterations of a repeated group.
        self.has_groups &= not (name and is_repeated)
        if name:
            self.named[name] = text
        return f"(?P<{name}>{text})" if name else f"(?:{text})"

    def _repeat(self, least: int, most: Any, inner: Iterable[Node], *, is_lazy: bool) -> str:
        text = self.sequence(inner, is_repeated=str(most) != "1")
        end = "" if str(most) == "MAXREPEAT" else str(int(most))
        return f"(?:{text}){{{least},{end}}}{'?' if is_lazy else ''}"


def field_regex(ids: IdPattern, name: str) -> str | None:
    """A field's values as a greedy Rust expression; None if there is none."""
    rust = rust_of(ids)
    return None if rust is None or name not in rust.named else rust.named[name].replace("}?", "}")
