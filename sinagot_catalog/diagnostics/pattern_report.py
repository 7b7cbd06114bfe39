"""Pattern reports: test a pattern before a script uses it (matches, near misses, collisions). Pure."""

from __future__ import annotations

import re
from itertools import product
from typing import TYPE_CHECKING, Any

import polars as pl

from sinagot_catalog.catalog import paths_near
from sinagot_catalog.diagnostics.id_proposal import find_values
from sinagot_catalog.errors import PatternError
from sinagot_catalog.patterns import Template, field_regex, id_columns, match_columns, parse_template
from sinagot_catalog.startup import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sinagot_catalog.catalog import Session
    from sinagot_catalog.patterns import IdPattern

_SHOWN = 3
_NEAR = 100_000
_ANY = "[^/]+?"
_FLAGS = re.compile(r"\(\?[a-zA-Z]+\)")


@dataclass(frozen=True)
class PatternReport:
    """The result of testing a pattern.

    Attributes:
        pattern: The pattern.
        matches: A row per fitting path: `path` and a column per placeholder.
        near: A row per similar path that does not fit: `path`, `token` (the first part of the pattern that
            fails; null if the path continues after the end of the pattern) and `rest` (the text of the path
            from there).
        collisions: A row per unit with several fitting paths: its placeholders, `n`, `paths`. A placeholder
            that is itself called `n` or `paths` has the column `{n}` or `{paths}`.
        free: Placeholders that match any text, because neither the config nor `id_pattern` declares them.

    Example:
        >>> from sinagot_catalog import example
        >>> ws = example()
        >>> ws.try_pattern("raw/{id}-raw.csv").counts()
        {'match': 3, 'nearly': 0, 'collide': 0}
        >>> print(ws.try_pattern("raw/{id}_raw.csv"))
        raw/{id}_raw.csv: 0 match, 3 nearly, 0 collide
          3 fail at '_raw.csv', such as raw/REC-20200601-raw.csv, which has '-raw.csv' there
    """

    pattern: str
    matches: pl.DataFrame
    near: pl.DataFrame
    collisions: pl.DataFrame
    free: tuple[str, ...] = ()

    def counts(self) -> dict[str, int]:
        """Return the number of fitting paths, of near misses, and of units with several paths."""
        return {"match": self.matches.height, "nearly": self.near.height, "collide": self.collisions.height}

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values."""
        frames = {name: getattr(self, name).to_dicts() for name in ("matches", "near", "collisions")}
        return {"pattern": self.pattern, "counts": self.counts(), "free": list(self.free), **frames}

    def lines(self) -> Iterator[str]:
        """Yield the report as lines of text."""
        yield f"{self.pattern}: " + ", ".join(f"{count:,} {word}" for word, count in self.counts().items())
        if self.free:
            names = ", ".join(f"{{{name}}}" for name in self.free)
            yield (
                f"  {names} stands for any text here; in a script it has to be a named group of id_pattern, or "
                "a column of [records] metadata"
            )
        for row in self.matches.head(_SHOWN).iter_rows(named=True):
            yield f"  {row.pop('path')}: " + ", ".join(f"{name} {value}" for name, value in row.items())
        kinds = self.near.group_by("token", maintain_order=True).agg(pl.len().alias("n"), pl.all().first())
        for kind in kinds.sort("n", descending=True, maintain_order=True).iter_rows(named=True):
            where = f"fail at {_shown(kind['token'])}" if kind["token"] else "go on behind the end"
            yield f"  {kind['n']:,} {where}, such as {kind['path']}, which has {kind['rest']!r} there"
        for collision in self.collisions.head(_SHOWN).iter_rows(named=True):
            yield f"  {collision['n']} are the same unit: {', '.join(collision['paths'][:_SHOWN])}"

    def __repr__(self) -> str:
        return "\n".join(self.lines())

    def _repr_html_(self) -> str:
        from html import escape

        return f"<pre>{escape(repr(self))}</pre>"


def _template_of(pattern: object, fields: Sequence[str]) -> tuple[Template, tuple[str, ...]]:
    """Parse a pattern with any placeholders; also return the unknown placeholders.

    Raises:
        PatternError: When it is empty, not a text, leaves the dataset, or has the placeholder `{path}`.
    """
    text = "/".join(pattern) if isinstance(pattern, (tuple, list)) else pattern
    names = dict.fromkeys(re.findall(r"\{([^{}?]*)\??\}", text)) if isinstance(text, str) else {}
    named = [name for name in names if name.isidentifier()]
    free = tuple(name for name in named if name not in fields)
    if "path" in named:
        raise PatternError(
            f"{text!r}: {{path}} is the name of the column of paths", "Give the placeholder another name."
        )
    return parse_template(pattern, fields={*fields, *named}, wildcards=True), free


def try_pattern(source: Session, pattern: object) -> PatternReport:
    """Match the files of a workspace with a pattern.

    Args:
        source: The session of the workspace.
        pattern: A pattern as in a script, with any placeholders.

    Raises:
        PatternError: When the pattern is empty or leaves the dataset.
    """
    ids, units = source.config.ids, source.layout().units
    names = {
        "task": sorted({unit.task for unit in units if unit.task}),
        "modality": sorted({unit.modality for unit in units if unit.modality}),
    }
    known = ["id", *ids.groups, *([] if source.config.is_unit_mode else names)]
    template, free = _template_of(pattern, known)
    paths = paths_near(source, template)
    return PatternReport(template.text, *_try(template, paths, ids, names), free)


def _try(
    template: Template, paths: pl.Series, ids: IdPattern, names: Mapping[str, Sequence[str]]
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Match paths with a template.

    Args:
        template: The pattern.
        paths: Paths below the dataset.
        ids: The id pattern.
        names: The possible values of `task` and `modality`.

    Returns:
        The frames `matches`, `near` and `collisions` of a `PatternReport`.
    """
    kinds = {name: "|".join(map(re.escape, valid)) or "(?!)" for name, valid in names.items()}
    kinds |= {name: _regex(ids, name) for name in ("id", *ids.groups)}
    fields = list(dict.fromkeys(value for _, value in template.tokens if value in template.fields))
    unit: list[str] = [name for name in ("id", "task", "modality") if name in fields]
    if "id" not in fields and ids.groups and {*ids.groups} <= {*fields}:
        unit = [name for name in fields if name in (*ids.groups, *unit)]
    if ids.is_told_by(template):
        rows = _fitting(template, paths, ids, names)
        unit = unit or fields
    else:
        found = [row for row in find_values(paths, template, kinds) if _agrees(row, ids)]
        rows = pl.DataFrame(found, schema=dict.fromkeys(["path", *fields], pl.String))
    matches = rows.select("path", *fields).sort("path")
    missed = paths.rename("path").to_frame().join(matches, on="path", how="anti")["path"].sort()
    # a placeholder may have the name of a column of the report
    keys = [pl.col(name).alias(f"{{{name}}}" if name in ("n", "paths") else name) for name in unit]
    several = matches.group_by(keys or [pl.lit(0).alias("_")], maintain_order=True).agg(
        pl.len().alias("n"), pl.col("path").alias("paths")
    )
    collisions = several.filter(pl.col("n") > 1) if unit and not template.is_wild else several.clear()
    # Rust's syntax cannot express every field as exactly
    kinds |= {name: field_regex(ids, name) or kinds[name] for name in ids.groups}
    return matches, _near(template, missed.head(_NEAR), kinds), collisions


def _fitting(
    template: Template, paths: pl.Series, ids: IdPattern, names: Mapping[str, Sequence[str]]
) -> pl.DataFrame:
    """Return the paths that the catalog assigns to a record, with the text of each placeholder."""
    used = [name for name in names if name in template.fields]
    bound = [dict(zip(used, values, strict=True)) for values in product(*(names[name] for name in used))]
    matches = match_columns(paths, [template.bind(values) for values in bound], ids)
    columns = [
        pl.Series(name, [values[name] for values in bound], dtype=pl.String).gather(matches["template"])
        for name in used
    ]
    values = id_columns(matches["record_id"], ids).rename({"record_id": "id"})
    return pl.DataFrame([paths.gather(matches["row"]).alias("path"), *values.get_columns(), *columns])


def _agrees(values: Mapping[str, str], ids: IdPattern) -> bool:
    """Whether the id among some values, or the id that is written from them, is a record's, with these fields."""
    form, record_id = ids.form, values.get("id")
    if record_id is None and not isinstance(form, str) and form.fields <= values.keys():
        record_id = form.write(values)
    fields = {} if record_id is None else ids.values(record_id)
    return fields is not None and all(values.get(name, text) == text for name, text in fields.items())


def _regex(ids: IdPattern, name: str) -> str:
    """Return the expression of `id` or a field, without group names; any text if it needs what is around it."""
    flags = match[0] if (match := _FLAGS.match(ids.text)) else ""
    text = ids.text.removeprefix(flags).removeprefix("^").removesuffix("$")
    if name != "id":
        text = text.partition(f"(?P<{name}>")[2]
        ends = (end.start() for end in re.finditer(r"\)", text))
        text = next((text[:end] for end in ends if _is_regex(text[:end])), "(")  # the first that is balanced
    text = re.sub(r"\(\?P<\w+>", "(?:", f"{flags[:-1]}:{text})" if flags else text)
    return text if _is_regex(f"x(?:{text})") else _ANY


def _is_regex(text: str) -> bool:
    """Whether both engines can read an expression."""
    try:
        re.compile(text)
        pl.Series([""]).str.contains(f"^(?:{text})$")
    except (re.error, pl.exceptions.ComputeError):
        return False
    return True


def _near(template: Template, missed: pl.Series, kinds: Mapping[str, str]) -> pl.DataFrame:
    """Return for each path that does not fit the first token that fails and the text of the path from there."""
    parts = [_failing(way, missed, kinds) for way in template.variants.values()]
    # of several variants the best one leaves the fewest tokens
    near = (
        pl.concat(parts).sort("left", maintain_order=True).unique("path", keep="first", maintain_order=True)
    )
    near = near.sort("path").select("path", "token", "rest")
    first = {_token(*way.tokens[0]) for way in template.variants.values()}
    # a path that differs from the first token on is a near miss only if no other path is nearer
    nearer = near.filter(pl.col("token").is_in(first).not_().fill_null(value=True))
    return near if nearer.is_empty() or template.tokens[0][0] != "text" else nearer


def _failing(template: Template, missed: pl.Series, kinds: Mapping[str, str]) -> pl.DataFrame:
    """Return the columns `path`, `token` and `rest` of `near`, and the number of tokens that are `left`."""
    tokens = template.tokens
    so_far, depth, rest = "^", pl.lit(0, pl.Int32), pl.col("path")
    for kind, value in tokens:
        so_far += re.escape(value) if kind == "text" else f"(?:{kinds.get(value, _ANY)})"
        fits = pl.col("path").str.contains(so_far)
        depth = depth + fits.cast(pl.Int32)
        if kind == "text" or kinds.get(value, _ANY) != _ANY:  # free text ends where the next token begins
            rest = pl.when(fits).then(pl.col("path").str.replace(so_far, "")).otherwise(rest)
    names = pl.lit(pl.Series([*(_token(*token) for token in tokens), None], dtype=pl.String))
    return missed.to_frame().select(
        "path", names.gather(depth).alias("token"), rest.alias("rest"), (len(tokens) - depth).alias("left")
    )


def _token(kind: str, value: str) -> str:
    return f"{{{value}}}" if kind in ("field", "optional") else value


def _shown(token: str) -> str:
    return token if token.startswith("{") else repr(token)
