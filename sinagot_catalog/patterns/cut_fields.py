"""Field extraction: cuts the fields of an id out of whole columns of paths, and writes the ids from them.

A field is cut out directly if there is only one way to do so: it is the only field in its part of the path, its
values have a fixed length, or the text beside it cannot be part of a value. Else every split is tried, once for
each distinct text.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Sequence

import polars as pl

from sinagot_catalog.errors import PatternError
from sinagot_catalog.patterns.fields import Tokens
from sinagot_catalog.patterns.id_pattern import IdPattern
from sinagot_catalog.patterns.id_regex import CONTROLS, character, rust_of
from sinagot_catalog.patterns.template import Template, tokens_regex

_MOST_SPLITS = 10_000
"""The most steps that are taken to split one text."""


def cut_ids(framed: pl.DataFrame, template: Template, absent: frozenset[str], ids: IdPattern) -> pl.DataFrame:
    """Add `record_id`, cut out of the path or written from its fields; it may still be wrong."""
    if "id" in template.fields:
        with_id = [n for n, part in enumerate(template.parts) if ("field", "id") in part]
        # the part with the id alone, if there is one
        best = min(with_id, key=lambda n: len(_unknown(template.parts[n], ())))
        framed = _with_fields(framed, template, [best], ids)
        return framed.with_columns(pl.col(_column("id")).alias("record_id"))
    form = ids.form
    if isinstance(form, str):
        raise PatternError(f"an id cannot be written from its fields: {form}")
    pieces = [piece for piece in form.pieces if piece.is_written(template.fields)]
    pieces = [piece for piece in pieces if piece.kind == "text" or piece.value not in absent]
    framed = _with_fields(framed, template, range(len(template.parts)), ids)
    texts = [
        pl.lit(piece.value) if piece.kind == "text" else pl.col(_column(piece.value)) for piece in pieces
    ]
    return framed.with_columns(pl.concat_str(pl.lit(""), *texts).alias("record_id"))


def _column(name: str) -> str:
    """The name of the column for the values of a field; no other column has such a name."""
    return f"_field_{name}"


def _with_fields(
    frame: pl.DataFrame, template: Template, numbers: Iterable[int], ids: IdPattern
) -> pl.DataFrame:
    """Add a column per field of some parts of the path. Parts with few unknown fields come first."""
    names: set[str] = set()
    todo = {n: template.parts[n] for n in numbers}
    frame = frame.with_columns(pl.col("path").str.split("/").alias("_parts"))
    while todo:
        number = min(todo, key=lambda n: len(_unknown(todo[n], names)))
        part = todo.pop(number)
        if unknown := _unknown(part, names):
            rest = frame["_parts"].list.get(number).alias("_rest")
            frame = _cut_fields(frame.with_columns(rest), part, names, ids)
            names |= unknown
    return frame


def _unknown(part: Tokens, known: Collection[str]) -> set[str]:
    return {value for kind, value in part if kind == "field" and value not in known}


def _cut_fields(frame: pl.DataFrame, part: Tokens, names: Collection[str], ids: IdPattern) -> pl.DataFrame:
    """Cut the unknown fields of a part of the path out of `_rest`, from both ends, as long as the cut is unique."""
    tokens, names = list(part), set(names)
    rest = pl.col("_rest")
    while _unknown(tuple(tokens), names):
        if len(tokens) == 1:
            return frame.with_columns(rest.alias(_column(tokens[0][1]))).filter(rest != "")
        for at_end in (False, True):
            cut = _one_end(tokens, names, ids, at_end=at_end)
            if cut is not None:
                break
        else:
            return _cut_in_every_way(frame, tuple(tokens))
        kind, name = tokens.pop(-1 if at_end else 0)
        if kind == "field" and name not in names:
            frame = frame.with_columns(cut.alias(_column(name)))
            names.add(name)
            cut = pl.col(_column(name))
        fits = rest.str.ends_with(cut) if at_end else rest.str.starts_with(cut)
        left = rest.str.strip_suffix(cut) if at_end else rest.str.strip_prefix(cut)
        frame = frame.filter(fits).with_columns(left.alias("_rest"))
    return frame


def _one_end(
    tokens: Sequence[tuple[str, str]], names: Collection[str], ids: IdPattern, *, at_end: bool
) -> pl.Expr | None:
    """The text of the first or the last token in `_rest`; None if several cuts are possible."""
    (kind, value), (next_kind, next_value) = tokens[::-1][:2] if at_end else tokens[:2]
    rest = pl.col("_rest").str
    if kind == "text":
        return pl.lit(value)
    if value in names:
        return pl.col(_column(value))
    if width := ids.width_of(value):
        return rest.tail(width) if at_end else rest.head(width)
    if next_kind == "text" and not ids.may_hold(value, edge := next_value[-1 if at_end else 0]):
        other = rf"[^{character(ord(edge))}]+"
        return rest.extract(f"({other})$" if at_end else f"^({other})", 1)
    return None


def _cut_in_every_way(frame: pl.DataFrame, tokens: Tokens) -> pl.DataFrame:
    """The rows of a frame for each possible split of `_rest`, with a column per field."""
    names = sorted({value for kind, value in tokens if kind == "field"})
    splits = [
        {"_rest": text, **{_column(name): split[name] for name in names}}
        for text in frame["_rest"].unique()
        for split in _splits(text, tokens)
    ]
    schema = dict.fromkeys(["_rest", *map(_column, names)], pl.String)
    told = [_column(name) for name in names if _column(name) in frame.columns]
    return frame.join(pl.DataFrame(splits, schema=schema), on=["_rest", *told])


def _splits(text: str, tokens: Tokens) -> Iterator[dict[str, str]]:
    """Every way to split a text into tokens, up to a number of steps."""
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
        piece = value if kind == "text" else values.get(value)
        if piece is not None:
            if text.startswith(piece, at):
                todo.append((at + len(piece), number + 1, values))
            continue
        ends = range(at + 1, len(text) + 1) if number + 1 < len(tokens) else [len(text)] * (at < len(text))
        next_kind, next_value = tokens[number + 1] if number + 1 < len(tokens) else ("text", "")
        behind = next_value if next_kind == "text" else ""
        todo += [
            (end, number + 1, {**values, value: text[at:end]}) for end in ends if text.startswith(behind, end)
        ]


def refused_ids(paths: pl.Series, templates: Sequence[Template], ids: IdPattern) -> list[tuple[str, str]]:
    """The paths that match a template with an id that fits the id pattern but cannot be a record, each with the id.

    Example:
        >>> from sinagot_catalog.patterns.template import parse_template
        >>> raw = parse_template("raw/{id}.csv", fields={"id"})
        >>> refused_ids(pl.Series(["raw/.._1.csv"]), [raw], IdPattern("(?P<site>[^_]+)_[0-9]"))
        [('raw/.._1.csv', '.._1')]
    """
    rust = rust_of(ids)
    if rust is not None and not rust.dotted and not rust.odd:
        paths = paths.filter(paths.str.contains(f"[{CONTROLS}]"))
    form = ids.form
    refusals: dict[str, str] = {}
    for way in (variant for template in templates for variant in template.variants.values()):
        regex = re.compile(tokens_regex(way.tokens), re.DOTALL)
        for match in filter(None, map(regex.fullmatch, paths if way.fields else ())):
            values = match.groupdict()
            record_id = values.get("id") or ("" if isinstance(form, str) else form.write(values))
            if record_id and ids.values(record_id) is None and ids.regex.fullmatch(record_id):
                refusals.setdefault(match[0], record_id)
    return list(refusals.items())
