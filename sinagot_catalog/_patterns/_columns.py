"""Patterns over whole columns: which path fits which pattern for which id, and the path of each record.

One rule holds everywhere: a path fits a pattern for an id when the id fits the id pattern (Python's
`re.fullmatch`) and the pattern filled with that id is that path. So an id is never guessed. Where a pattern
has no placeholder but `{id}`, the length of the id follows from the length of the path, and the id is cut
out; else it is cut out of the part of the path that holds nothing else, filled in again and compared. Where a
pattern has only fields of the id, their values are cut out, the id is written from them, and the pattern is
filled in again and compared.

Ids are checked by Rust's regular expressions where those mean the same as Python's (see `_rust`), else by
Python's, each id once.
"""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import lru_cache
from typing import Any

import polars as pl

from sinagot_catalog._patterns._fields import parse_regex
from sinagot_catalog._patterns._template import IdPattern, Template
from sinagot_catalog.errors import PatternError

__all__ = [
    "Tokens",
    "cut_id",
    "ends_of",
    "field_regex",
    "fitting",
    "id_columns",
    "match_columns",
    "near_misses",
    "paths_of",
    "refused_ids",
]

Tokens = tuple[tuple[str, str], ...]

_NO_NAME = r"(?:^|/)\.{0,2}(?:/|$)"
_CONTROLS = r"\x00-\x1f\x7f-\x{9f}"
_MOST_SPLITS = 1000
_FEW = 16
"""Repeats that vary by no more than that are counted, not open."""
_MATCHES = {"row": pl.UInt32, "template": pl.UInt16, "record_id": pl.String}


def match_columns(paths: pl.Series, templates: Sequence[Template], ids: IdPattern) -> pl.DataFrame:
    """Find every path that fits a pattern.

    Args:
        paths: Paths below the root of the templates.
        templates: Bound templates; those that do not tell the id fit nothing here.
        ids: The id pattern.

    Returns:
        A row per fit: `row` (position in `paths`), `template` (position in `templates`), `record_id`.

    Example:
        >>> from sinagot_catalog._patterns._template import parse_template
        >>> raw = parse_template("raw/{id}.csv", fields={"id"})
        >>> paths = pl.Series(["raw/REC-1.csv", "raw/x.csv", "REC-1.csv"])
        >>> match_columns(paths, [raw], IdPattern(r"REC-[0-9]+")).rows()
        [(0, 0, 'REC-1')]
    """
    frame = paths.rename("path").to_frame().with_row_index("row").lazy()
    plain, found = [], []
    for number, template in enumerate(templates):
        key = pl.lit(number, dtype=pl.UInt16).alias("template")
        if template.fields == {"id"}:
            plain.append(cut_id(frame, template.tokens, "path").select("row", key, "record_id"))
        elif ids.is_told_by(template):
            for absent, variant in template.variants.items():
                fits = _match_grouped(frame, variant, absent, ids)
                found.append(fits.select("row", key, "record_id"))
    if plain:
        # As written: merged into one, the filters would all run over every path.
        cut = pl.concat(pl.collect_all(plain, optimizations=pl.QueryOptFlags.none()))
        found.insert(0, cut.filter(fitting(cut["record_id"], ids)))
    return pl.concat(found).cast(_MATCHES) if found else pl.DataFrame(schema=_MATCHES)  # type: ignore[arg-type]


def paths_of(template: Template) -> pl.Expr:
    """The path of a template for each row of a frame with `record_id` and the named groups as columns.

    It is null where the template names no path: a field that it needs has no value, or a part would be empty.

    Example:
        >>> from sinagot_catalog._patterns._template import parse_template
        >>> raw = parse_template("raw/{id}.csv", fields={"id"})
        >>> pl.DataFrame({"record_id": ["A", "B"]}).select(paths_of(raw)).to_series().to_list()
        ['raw/A.csv', 'raw/B.csv']
    """
    if template.fields <= {"id"} and not template.has_bare_parts:
        return _filled(template.tokens, "record_id")
    return pl.coalesce(_path_of(variant, absent) for absent, variant in template.variants.items())


def _path_of(variant: Template, absent: Collection[str]) -> pl.Expr:
    """The path of a pattern for the records that have values for its fields, and none for some others."""
    path = _filled(variant.tokens, "record_id")
    holds = [pl.col(name) != "" for name in sorted(variant.fields - {"id"})]
    holds += [pl.col(name) == "" for name in sorted(absent)]
    if variant.has_bare_parts:
        holds.append(~path.str.contains(_NO_NAME))
    return pl.when(pl.all_horizontal(holds)).then(path) if holds else path


def id_columns(ids: pl.Series, pattern: IdPattern) -> pl.DataFrame:
    """The ids beside one String column per named group, `""` where a group took no part.

    Args:
        ids: Record ids that fit the pattern; what a group of another text is, is null.
        pattern: The id pattern.

    Example:
        >>> id_columns(pl.Series(["A-1", "B-2"]), IdPattern(r"(?P<site>[A-Z])-[0-9]")).rows()
        [('A-1', 'A'), ('B-2', 'B')]
    """
    frame = ids.rename("record_id").cast(pl.String).to_frame()
    if not pattern.groups:
        return frame
    rust = _rust(pattern)
    is_easy = rust is not None and rust.has_groups
    wide = (
        _is_wide(frame["record_id"], rust) if is_easy else pl.Series([True]).new_from_index(0, frame.height)
    )
    parts = []
    numbered = frame.with_row_index("_row")
    easy = numbered.filter(~wide)
    if rust is not None and easy.height:
        groups = easy["record_id"].str.extract_groups(rust.text).struct
        named = [groups.field(name).fill_null("").alias(name) for name in pattern.groups]
        parts.append(easy.with_columns(named))
    hard = numbered.filter(wide)
    if hard.height or not parts:
        unique = hard["record_id"].unique()
        values = [pattern.regex.fullmatch(one) for one in unique]
        table = {
            name: pl.Series([None if one is None else one[name] or "" for one in values], dtype=pl.String)
            for name in pattern.groups
        }
        parts.append(hard.join(pl.DataFrame({"record_id": unique, **table}), on="record_id", how="left"))
    out = parts[0] if len(parts) == 1 else pl.concat(parts)
    return out.sort("_row").select("record_id", *pattern.groups)


def field_regex(ids: IdPattern, name: str) -> str | None:
    """A field's values as an expression of Rust, or None where it has none that means the same."""
    rust = _rust(ids)
    return None if rust is None else rust.named.get(name)


def near_misses(
    paths: pl.Series, templates: Sequence[Template], ids: IdPattern, most: int = 3
) -> list[tuple[str, str]]:
    """Examples of paths under a template's literal folder that fit no template.

    Returns:
        Pairs of a path and the text of the template that it resembles most.

    Example:
        >>> from sinagot_catalog._patterns._template import parse_template
        >>> raw = parse_template("raw/{id}-raw.csv", fields={"id"})
        >>> near_misses(pl.Series(["raw/REC-1.csv"]), [raw], IdPattern("REC-[0-9]+"))
        [('raw/REC-1.csv', 'raw/{id}-raw.csv')]
    """
    fitting = match_columns(paths, templates, ids)["row"].unique()
    prefixes = {template.prefix for template in templates}
    if not prefixes:
        return []
    missed = (
        paths.rename("path")
        .to_frame()
        .with_row_index("row")
        .filter(
            ~pl.col("row").is_in(fitting.implode()),
            pl.any_horizontal([pl.col("path").str.starts_with(prefix) for prefix in prefixes]),
        )["path"]
        .bottom_k(most)
        .sort()
    )
    return [(path, max(templates, key=lambda one: _likeness(path, one)).text) for path in missed]


def refused_ids(paths: pl.Series, templates: Sequence[Template], ids: IdPattern) -> list[tuple[str, str]]:
    """The paths that fit a template for an id of the id pattern that cannot be a record, each with the id.

    Example:
        >>> from sinagot_catalog._patterns._template import parse_template
        >>> raw = parse_template("raw/{id}.csv", fields={"id"})
        >>> refused_ids(pl.Series(["raw/.._1.csv"]), [raw], IdPattern("(?P<site>[^_]+)_[0-9]"))
        [('raw/.._1.csv', '.._1')]
    """
    form = ids.form
    found: dict[str, str] = {}
    for one in (variant for template in templates for variant in template.variants.values()):
        if not one.fields:
            continue
        for path in paths.str.split("/").filter(
            paths.str.count_matches("/", literal=True) == len(one.parts) - 1
        ):
            values: dict[str, str] | None = {}
            for text, part in zip(path, one.parts, strict=True):
                values = (
                    next((values | split for split in _splits(text, part)), None)
                    if values is not None
                    else None
                )
            if values is None:
                continue
            record_id = values.get("id") or ("" if isinstance(form, str) else form.write(values))
            if record_id and ids.values(record_id) is None and ids.regex.fullmatch(record_id):
                found.setdefault("/".join(path), record_id)
    return list(found.items())


def _likeness(path: str, template: Template) -> tuple[bool, float]:
    return path.startswith(template.prefix), SequenceMatcher(None, path, template.text).ratio()


# -- cutting ids out of paths --------------------------------------------------------------------------


def _filled(tokens: Tokens, id_column: str) -> pl.Expr:
    """The tokens as text, as many rows as the frame has."""
    parts = [
        pl.lit(value) if kind == "text" else pl.col(id_column if value == "id" else value)
        for kind, value in tokens
    ]
    if all(kind == "text" for kind, _ in tokens):
        parts.append(pl.col(id_column).str.head(0))
    return pl.concat_str(parts)


def ends_of(tokens: Tokens) -> tuple[str, str]:
    """The literal text before the first and after the last placeholder."""
    first, last = tokens[0], tokens[-1]
    return first[1] if first[0] == "text" else "", last[1] if last[0] == "text" else ""


def _size(tokens: Tokens) -> int:
    """The length of all literal text together."""
    return sum(len(value) for kind, value in tokens if kind == "text")


def cut_id(frame: pl.LazyFrame, tokens: Tokens, column: str) -> pl.LazyFrame:
    """The rows whose texts fit tokens with no placeholder but `{id}`, and `record_id`; ids are not yet checked."""
    return _cut(_framed(frame, tokens, column), tokens, column)


def _framed(frame: pl.LazyFrame, tokens: Tokens, column: str) -> pl.LazyFrame:
    """The rows whose texts begin and end as the tokens do; texts do not overlap."""
    head, tail = ends_of(tokens)
    conditions = []
    if head:
        conditions.append(pl.col(column).str.starts_with(head))
    if tail:
        conditions.append(pl.col(column).str.ends_with(tail))
    return frame.filter(*conditions)


def _cut(frame: pl.LazyFrame, tokens: Tokens, column: str) -> pl.LazyFrame:
    """Add `record_id`, cut out of a column of texts that the tokens, with `{id}` alone, stand for."""
    text = pl.col(column)
    head, tail = ends_of(tokens)
    times = sum(kind == "field" for kind, _ in tokens)
    if times == 1:
        size = len(head.encode()) + len(tail.encode())
        found = frame.filter(text.str.len_bytes() > size) if head and tail else frame
        return found.with_columns(text.str.strip_prefix(head).str.strip_suffix(tail).alias("record_id"))
    space = text.str.len_chars().cast(pl.Int64) - _size(tokens)
    return (
        frame.filter(space > 0, space % times == 0)
        .with_columns(text.str.slice(len(head), space // times).alias("record_id"))
        .filter(_filled(tokens, "record_id") == text)
    )


def _match_grouped(
    frame: pl.LazyFrame, variant: Template, absent: frozenset[str], ids: IdPattern
) -> pl.DataFrame:
    """The rows of a template that has fields of the id, with or without the id beside them.

    Args:
        frame: Columns `row` and `path`.
        variant: A pattern without optional fields.
        absent: The fields that have no value where it counts.
        ids: The id pattern.
    """
    # A field stays within a part of the path, so the parts of the path and of the pattern pair up.
    slashes = pl.col("path").str.count_matches("/", literal=True)
    framed = _framed(frame, variant.tokens, "path").filter(slashes == len(variant.parts) - 1).collect()
    has_id = "id" in variant.fields
    cut = _cut_from_part(framed, variant, ids) if has_id else _written(framed, variant, absent, ids)
    cut = cut.select("row", "path", "record_id")
    unique = cut["record_id"].unique()
    values = id_columns(unique.filter(fitting(unique, ids)), ids)
    return cut.join(values, on="record_id").filter(_path_of(variant, absent) == pl.col("path"))


def _cut_from_part(framed: pl.DataFrame, template: Template, ids: IdPattern) -> pl.DataFrame:
    """Cut `record_id` out of the part of the path that tells the id best."""
    part, tokens = _best_part(template)
    framed = framed.with_columns(pl.col("path").str.split("/").list.get(part).alias("_part"))
    if {value for kind, value in tokens if kind == "field"} == {"id"}:
        return cut_id(framed.lazy(), tokens, "_part").collect()
    texts = framed["_part"].unique()
    options = [_options(one, tokens, ids) for one in texts]
    table = pl.DataFrame({"_part": texts, "record_id": pl.Series(options, dtype=pl.List(pl.String))})
    return framed.join(table.explode("record_id"), on="_part").filter(pl.col("record_id").is_not_null())


def _best_part(template: Template) -> tuple[int, Tokens]:
    """The part of the pattern, between slashes, that tells the id best: the one with the id alone."""
    with_id = [(n, tokens) for n, tokens in enumerate(template.parts) if ("field", "id") in tokens]
    return min(with_id, key=lambda one: len({value for kind, value in one[1] if kind == "field"}))


# -- writing ids from fields ---------------------------------------------------------------------------


def _written(
    framed: pl.DataFrame, template: Template, absent: frozenset[str], ids: IdPattern
) -> pl.DataFrame:
    """Write `record_id` from the fields of a pattern without `{id}`; what does not fit is still there."""
    form = ids.form
    if isinstance(form, str):
        raise PatternError(f"an id cannot be written from its fields: {form}")
    pieces = [piece for piece in form.pieces if piece.is_written(template.fields)]
    pieces = [piece for piece in pieces if piece.kind == "text" or piece.value not in absent]
    framed = _with_fields(framed, template, ids)
    texts = [pl.lit(one.value) if one.kind == "text" else pl.col(_column(one.value)) for one in pieces]
    written = framed.with_columns(pl.concat_str(texts).alias("record_id"))
    is_split = written["row"].n_unique() < written.height
    return written.unique(["row", "record_id"]) if is_split else written


def _column(name: str) -> str:
    """The column for the value of a field: no name of ours is like it."""
    return f"_field_{name}"


def _with_fields(frame: pl.DataFrame, template: Template, ids: IdPattern) -> pl.DataFrame:
    """Add a column per field, cut out of the parts of the path; parts with few unknown fields come first."""
    known: set[str] = set()
    todo = {n: part for n, part in enumerate(template.parts) if _unknown(part, known)}
    frame = frame.with_columns(pl.col("path").str.split("/").alias("_parts"))
    while todo:
        number = min(todo, key=lambda n: len(_unknown(todo[n], known)))
        part = todo.pop(number)
        unknown = _unknown(part, known)
        if unknown:
            rest = frame["_parts"].list.get(number).alias("_rest")
            frame = _cut_fields(frame.with_columns(rest), part, known, ids)
            known |= unknown
    return frame


def _unknown(part: Tokens, known: Collection[str]) -> set[str]:
    return {value for kind, value in part if kind == "field" and value not in known}


def _cut_fields(frame: pl.DataFrame, part: Tokens, known: Collection[str], ids: IdPattern) -> pl.DataFrame:
    """Cut the unknown fields of a part of the path out of `_rest`, from both ends, as far as there is one way."""
    tokens, known = list(part), set(known)
    rest = pl.col("_rest")
    while _unknown(tuple(tokens), known):
        if len(tokens) == 1:
            return frame.with_columns(rest.alias(_column(tokens[0][1]))).filter(rest != "")
        for at_end in (False, True):
            cut = _one_end(tokens, known, ids, at_end=at_end)
            if cut is not None:
                break
        else:
            return _cut_in_every_way(frame, tuple(tokens))
        kind, name = tokens.pop(-1 if at_end else 0)
        if kind == "field" and name not in known:
            frame = frame.with_columns(cut.alias(_column(name)))
            known.add(name)
            cut = pl.col(_column(name))
        fits = rest.str.ends_with(cut) if at_end else rest.str.starts_with(cut)
        left = rest.str.strip_suffix(cut) if at_end else rest.str.strip_prefix(cut)
        frame = frame.filter(fits).with_columns(left.alias("_rest"))
    return frame


def _one_end(
    tokens: Sequence[tuple[str, str]], known: Collection[str], ids: IdPattern, *, at_end: bool
) -> pl.Expr | None:
    """What the first or the last token stands for in `_rest`; None where that can be told in several ways."""
    (kind, value), (next_kind, next_value) = tokens[::-1][:2] if at_end else tokens[:2]
    rest = pl.col("_rest").str
    if kind == "text":
        return pl.lit(value)
    if value in known:
        return pl.col(_column(value))
    field = ids.fields[value]
    if field.width:
        return rest.tail(field.width) if at_end else rest.head(field.width)
    if next_kind == "text" and not field.may_hold(edge := next_value[-1 if at_end else 0]):
        other = rf"[^{_character(ord(edge))}]+"
        return rest.extract(f"({other})$" if at_end else f"^({other})", 1)
    return None


def _cut_in_every_way(frame: pl.DataFrame, tokens: Tokens) -> pl.DataFrame:
    """The rows of a frame for each way in which `_rest` can be split, with a column per field."""
    names = sorted({value for kind, value in tokens if kind == "field"})
    found = [
        {"_rest": text, **{_column(name): split[name] for name in names}}
        for text in frame["_rest"].unique()
        for split in _splits(text, tokens)
    ]
    schema = dict.fromkeys(["_rest", *map(_column, names)], pl.String)
    told = [_column(name) for name in names if _column(name) in frame.columns]
    return frame.join(pl.DataFrame(found, schema=schema), on=["_rest", *told])


def _splits(text: str, tokens: Tokens) -> Iterator[dict[str, str]]:
    """Every way in which tokens can stand for a text, up to a number of steps."""
    todo: list[tuple[int, int, dict[str, str]]] = [(0, 0, {})]
    for _ in range(_MOST_SPLITS):
        if not todo:
            return
        at, number, values = todo.pop()
        if number == len(tokens):
            if at == len(text):
                yield values
            continue
        kind, value = tokens[number]
        known = value if kind == "text" else values.get(value)
        if known is not None:
            if text.startswith(known, at):
                todo.append((at + len(known), number + 1, values))
            continue
        ends = range(at + 1, len(text) + 1) if number + 1 < len(tokens) else [len(text)] * (at < len(text))
        behind = (
            tokens[number + 1][1]
            if tokens[number + 1 : number + 2] and tokens[number + 1][0] == "text"
            else ""
        )
        todo += [
            (end, number + 1, {**values, value: text[at:end]}) for end in ends if text.startswith(behind, end)
        ]


# -- trying ids ----------------------------------------------------------------------------------------


def _options(text: str, tokens: Tokens, ids: IdPattern) -> list[str]:
    """Every id that may stand in a text where the id's own groups stand beside it, tried one by one."""
    at = tokens.index(("field", "id"))
    before, after = tokens[:at], tokens[at + 1 :]
    left = before[-1][1] if before and before[-1][0] == "text" else ""
    right = after[0][1] if after and after[0][0] == "text" else ""
    last_start = _size(before) if _is_literal(before) else len(text)
    first_end = len(text) - _size(after) if _is_literal(after) else 0
    found: dict[str, None] = {}
    for start in range(_size(before), last_start + 1):
        if not text.startswith(left, start - len(left)):
            continue
        for end in range(max(start, first_end), len(text) - _size(after) + 1):
            values = ids.values(text[start:end]) if text.startswith(right, end) else None
            if values is not None and _matches(text, tokens, values):
                found[text[start:end]] = None
    return list(found)


def _is_literal(tokens: Iterable[tuple[str, str]]) -> bool:
    return all(kind == "text" for kind, _ in tokens)


def _matches(text: str, tokens: Tokens, values: dict[str, str]) -> bool:
    return text == "".join(value if kind == "text" else values[value] for kind, value in tokens)


# -- checking ids --------------------------------------------------------------------------------------


def fitting(texts: pl.Series, ids: IdPattern) -> pl.Series:
    """For each text whether it is a record id."""
    rust = _rust(ids)
    if rust is None:
        return _fitting_slowly(texts, ids)
    fits = texts.str.contains(rust.text)
    if rust.odd:
        fits &= ~texts.is_in(rust.odd)
    if rust.dotted:
        groups = texts.str.extract_groups(rust.text).struct
        for name in rust.dotted:
            fits &= ~groups.field(name).is_in([".", ".."]).fill_null(value=False)
    wide = _is_wide(texts, rust)
    if wide.any():
        fits = fits.zip_with(~wide, _fitting_slowly(texts, ids, only=wide))
    return fits


def _refuse_endless(ids: IdPattern, *, with_branches: bool) -> None:
    """Refuse what Python's engine may take for ever over: repeats within repeats.

    Raises:
        PatternError: With what to write instead.
    """
    if _repeats_within(parse_regex(ids.text), with_branches=with_branches, is_repeated=False):
        raise PatternError(
            f"id_pattern {ids.text!r} repeats what is itself repeated, and one name can keep it busy for ever",
            "Write 'a+' for '(a+)+'; without look-around, back-references and names beyond ASCII it would do.",
        )


def _repeats_within(node: Any, *, with_branches: bool, is_repeated: bool) -> bool:
    """Whether a parse has an open repeat, or alternatives, inside an open repeat."""
    if isinstance(node, tuple) and len(node) == 2:  # noqa: PLR2004 - kind and value
        kind, value = str(node[0]), node[1]
        if kind in ("MAX_REPEAT", "MIN_REPEAT"):
            is_open = int(value[1]) - int(value[0]) > _FEW
            if is_open and is_repeated:
                return True
            return _repeats_within(value[2], with_branches=with_branches, is_repeated=is_repeated or is_open)
        if kind == "BRANCH" and is_repeated and with_branches:
            return True
    if isinstance(node, (tuple, list)) or hasattr(node, "data"):
        parts = getattr(node, "data", node)
        return any(
            _repeats_within(one, with_branches=with_branches, is_repeated=is_repeated) for one in parts
        )
    return False


def _fitting_slowly(texts: pl.Series, ids: IdPattern, only: pl.Series | None = None) -> pl.Series:
    """The same by Python's regular expressions, each text once."""
    _refuse_endless(ids, with_branches=only is None)
    unique = (texts if only is None else texts.filter(only)).unique()
    kept = unique.filter(pl.Series([ids.values(one) is not None for one in unique], dtype=pl.Boolean))
    return texts.is_in(kept.implode())


def _is_wide(texts: pl.Series, rust: "_Rust | None") -> pl.Series:
    """Which texts go beyond ASCII, where the two engines' classes differ; none where no class is used."""
    if rust is not None and rust.is_exact:
        return pl.Series([False]).new_from_index(0, len(texts))
    return texts.str.len_bytes() != texts.str.len_chars()


@dataclass(frozen=True)
class _Rust:
    """An id pattern as a regular expression of Rust.

    Attributes:
        text: Anchored; unnamed groups do not capture.
        is_exact: It means the same beyond ASCII too.
        has_groups: Its named groups capture what Python's do.
        odd: Texts that it accepts and that are no ids, such as `..`.
        named: Each named group as an expression of its own.
        dotted: The named groups that may be `.` or `..`, which no field of an id is.
    """

    text: str
    is_exact: bool
    has_groups: bool
    odd: tuple[str, ...]
    dotted: tuple[str, ...]
    named: dict[str, str]


class _UnlikeError(Exception):
    """The two engines may differ over this construct."""


@lru_cache(maxsize=64)
def _rust(ids: IdPattern) -> _Rust | None:
    """Translate an id pattern, or None where the two engines may differ.

    Python's own parse is written out anew, so what is not known here to mean the same is never passed on:
    only literals, classes, alternatives, groups and counted repeats are. For ASCII texts these mean the same
    in both. A class takes in neither `/` nor a control character: no id has them.
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
    odd = tuple(one for one in ("", ".", "..") if ids.regex.fullmatch(one))
    some = pl.Series([".", ".."])
    dotted = tuple(name for name, one in writer.named.items() if some.str.contains(rf"\A(?:{one})\z").any())
    if dotted and not writer.has_groups:
        return None
    return _Rust(text, writer.is_exact, writer.has_groups, odd, dotted, writer.named)


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


def _character(code: int) -> str:
    return rf"\x{{{code:x}}}"


class _Writer:
    """Writes Python's parse of a regular expression as one of Rust."""

    def __init__(self, groups: dict[int, str]) -> None:
        self.groups = groups
        self.is_exact = True
        self.has_groups = True
        self.named: dict[str, str] = {}

    def sequence(self, nodes: Iterable[Node], *, is_repeated: bool) -> str:
        return "".join(self.node(kind, value, is_repeated=is_repeated) for kind, value in nodes)

    def node(self, kind: Any, value: Any, *, is_repeated: bool) -> str:
        simple: dict[str, Callable[[Any], str]] = {
            "LITERAL": self._literal,
            "NOT_LITERAL": self._not_literal,
            "ANY": self._any,
            "IN": self._class,
        }
        if str(kind) in simple:
            return simple[str(kind)](value)
        if str(kind) == "BRANCH":
            options = [self.sequence(one, is_repeated=is_repeated) for one in value[1]]
            return f"(?:{'|'.join(options)})"
        if str(kind) == "SUBPATTERN":
            return self._group(*value, is_repeated=is_repeated)
        if str(kind) in ("MAX_REPEAT", "MIN_REPEAT"):
            return self._repeat(*value, is_lazy=str(kind) == "MIN_REPEAT")
        raise _UnlikeError

    @staticmethod
    def _literal(code: int) -> str:
        if chr(code) == "/" or not chr(code).isprintable():
            raise _UnlikeError
        return _character(code)

    def _not_literal(self, code: int) -> str:
        self.is_exact = False
        return rf"[^{_character(code)}/{_CONTROLS}]"

    def _any(self, _: None) -> str:
        self.is_exact = False
        return rf"[^/{_CONTROLS}]"

    def _class(self, items: list[Node]) -> str:
        names = [_named(item) for item in items]
        is_negated = names[0][0] == "NEGATE"
        text = "".join(self._item(kind, value) for kind, value in items[is_negated:])
        self.is_exact &= not is_negated
        return rf"[[{'^' if is_negated else ''}{text}]&&[^/{_CONTROLS}]]"

    def _item(self, kind: Any, value: Any) -> str:
        if str(kind) == "LITERAL":
            return _character(value)
        if str(kind) == "RANGE":
            if not chr(value[1]).isascii():
                raise _UnlikeError
            return f"{_character(value[0])}-{_character(value[1])}"
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
        # The engines may keep different turns of a group that is repeated.
        self.has_groups &= not (name and is_repeated)
        if name:
            self.named[name] = text
        return f"(?P<{name}>{text})" if name else f"(?:{text})"

    def _repeat(self, least: int, most: Any, inner: Iterable[Node], *, is_lazy: bool) -> str:
        text = self.sequence(inner, is_repeated=str(most) != "1")
        end = "" if str(most) == "MAXREPEAT" else str(int(most))
        return f"(?:{text}){{{least},{end}}}{'?' if is_lazy else ''}"
