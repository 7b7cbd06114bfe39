"""Field extraction: cuts the fields of an id out of whole columns of paths, and writes the ids from them.

A regular expression cuts each path twice: once with the longest texts for its first fields, once with the shortest.
If both cuts are the same there is no other one. Else every split is tried, once for each distinct path.
"""

import re
from collections.abc import Iterator, Mapping, Sequence

import polars as pl

from sinagot_catalog.errors import PatternError
from sinagot_catalog.patterns.fields import Tokens, path_of
from sinagot_catalog.patterns.id_pattern import IdPattern
from sinagot_catalog.patterns.id_regex import CONTROLS, rust_of
from sinagot_catalog.patterns.template import Template, tokens_regex

_MOST_SPLITS = 10_000
"""The most steps that are taken to split one text."""


def cut_ids(framed: pl.DataFrame, template: Template, ids: IdPattern) -> pl.DataFrame:
    """Columns `row`, `path` and `record_id`: cut out of the path or written from its fields, not yet checked."""
    pieces = _pieces(template, ids)
    parts = _telling(template.parts, {value for kind, value in pieces if kind == "field"})
    fields = [value for part in parts.values() for kind, value in part if kind == "field"]

    def written(cut: pl.Expr) -> pl.Expr:
        texts = (
            pl.lit(value) if kind == "text" else cut.struct.field(str(fields.index(value) + 1))
            for kind, value in pieces
        )
        return pl.concat_str(pl.lit(""), *texts).alias("record_id")

    longest, shortest = (_regex(template.depth, parts, ids, most) for most in ("+", "+?"))
    cut = pl.col("path").str.extract_groups(longest)
    found = framed.select("row", "path", written(cut)).drop_nulls()
    if longest == shortest:
        return found
    several = framed.filter(cut != pl.col("path").str.extract_groups(shortest))
    splits = [
        (path, "".join(value if kind == "text" else split[value] for kind, value in pieces))
        for path, split in _splits(several["path"].unique(), parts, ids)
    ]
    others = pl.DataFrame(splits, {"path": pl.String, "record_id": pl.String}, orient="row")
    found = found.join(several, on="row", how="anti", maintain_order="left")
    return pl.concat([found, several.join(others.unique(), on="path").select(found.columns)])


def _pieces(template: Template, ids: IdPattern) -> Tokens:
    """The literal texts and the fields that the id of a path is written from."""
    if "id" in template.fields:
        return (("field", "id"),)
    form = ids.form
    if isinstance(form, str):
        raise PatternError(f"an id cannot be written from its fields: {form}")
    written = [piece for piece in form.pieces if piece.is_written(template.fields)]
    return tuple(
        (piece.kind, piece.value)
        for piece in written
        if piece.kind == "text" or piece.value in template.fields
    )


def _telling(parts: Sequence[Tokens], names: set[str]) -> dict[int, Tokens]:
    """The parts of a pattern that together have some fields, by their position; rather those with few fields."""
    telling: dict[int, Tokens] = {}
    known: set[str] = set()
    fields = [{value for kind, value in part if kind == "field"} for part in parts]
    for number in sorted(range(len(parts)), key=lambda number: len(fields[number])):
        if fields[number] & names - known:
            known |= fields[number]
            telling[number] = parts[number]
    return dict(sorted(telling.items()))


def _regex(depth: int, parts: Mapping[int, Tokens], ids: IdPattern, most: str) -> str:
    """What a path matches, with a group for each field of some of its parts.

    Args:
        depth: The number of parts of the path.
        parts: These parts, by their position.
        ids: The id pattern.
        most: `+` if the first of several fields gets the longest text, `+?` if it gets the shortest.
    """
    texts = ["[^/]+"] * depth
    for number, part in parts.items():
        n_open = sum(kind == "field" and not ids.width_of(value) for kind, value in part)
        texts[number] = "".join(
            re.escape(value) if kind == "text" else f"({_values(part, at, ids, most if n_open > 1 else '+')})"
            for at, (kind, value) in enumerate(part)
        )
    return f"^{'/'.join(texts)}$"


def _values(part: Tokens, at: int, ids: IdPattern, most: str) -> str:
    """The texts of a field: of a fixed length, or without the characters beside it that no value has."""
    name = part[at][1]
    if width := ids.width_of(name):
        return f"[^/]{{{width}}}"
    beside = [value[-1] for kind, value in part[at - 1 : at] if kind == "text"]
    beside += [value[0] for kind, value in part[at + 1 : at + 2] if kind == "text"]
    edges = "".join(re.escape(char) for char in beside if not ids.may_hold(name, char))
    return f"[^/{edges}]{most}"


def _splits(
    paths: pl.Series, parts: Mapping[int, Tokens], ids: IdPattern
) -> Iterator[tuple[str, dict[str, str]]]:
    """Every way to split some parts of each path into their tokens."""
    tokens = (*path_of(parts.values()), ("text", "\0"))  # a last token, as no path has this character
    shapes = {
        at: (re.compile(_values(tokens, at, ids, "+")), ids.width_of(name) or 1)
        for at, (kind, name) in enumerate(tokens)
        if kind == "field"
    }
    for path in paths:
        names = path.split("/")
        text = "/".join(names[number] for number in parts) + "\0"
        for values in _splits_of(text, tokens, shapes):
            yield path, values


def _splits_of(
    text: str, tokens: Tokens, shapes: Mapping[int, tuple[re.Pattern[str], int]]
) -> Iterator[dict[str, str]]:
    """Every way to split one text, up to a number of steps, with the values and the least length of each field."""
    todo: list[tuple[int, int, dict[str, str]]] = [(0, 0, {})]
    for _ in range(_MOST_SPLITS):
        if not todo:
            return
        at, number, values = todo.pop()
        if number == len(tokens):
            yield values
            continue
        kind, value = tokens[number]
        piece = value if kind == "text" else values.get(value)
        if piece is not None:
            todo += [(at + len(piece), number + 1, values)] * text.startswith(piece, at)
            continue
        next_kind, next_value = tokens[number + 1]
        behind = next_value if next_kind == "text" else ""
        shape, least = shapes[number]
        longest = shape.match(text, at)
        ends = range(at + least, longest.end() + 1) if longest else ()
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
    refusals: dict[str, str] = {}
    for way in (variant for template in templates for variant in template.variants.values()):
        regex = re.compile(tokens_regex(way.tokens), re.DOTALL)
        for match in filter(None, map(regex.fullmatch, paths if way.fields else ())):
            record_id = ids.written(match.groupdict())
            if record_id and ids.values(record_id) is None and ids.regex.fullmatch(record_id):
                refusals.setdefault(match[0], record_id)
    return list(refusals.items())
