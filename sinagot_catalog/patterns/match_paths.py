"""Path matcher: finds which paths of a column match which pattern for which id, and writes the paths of records.

The rule: a path matches a pattern for an id when the id fits the id pattern (Python's `re.fullmatch`) and the
pattern filled with that id is that path. So an id is never guessed. If a pattern has no placeholder but `{id}`, the
length of the id follows from the length of the path, and the id is cut out. Else the id is cut out of the part of
the path that contains nothing else, and the filled pattern is compared with the path. If a pattern has only fields
of the id, their values are cut out, the id is written from them, and the filled pattern is compared with the path.

Rust's regular expressions check ids if they mean the same as Python's (see `patterns.id_regex`), else Python's do,
once for each distinct id.
"""

from collections.abc import Collection, Sequence
from difflib import SequenceMatcher
from functools import reduce
from operator import or_

import polars as pl

from sinagot_catalog.patterns.cut_fields import cut_ids
from sinagot_catalog.patterns.fields import Tokens
from sinagot_catalog.patterns.id_pattern import IdPattern, is_safe_id
from sinagot_catalog.patterns.id_regex import fitting, is_wide, rust_of
from sinagot_catalog.patterns.template import Template
from sinagot_catalog.patterns.wildcards import Reduction, reductions

_NO_NAME = r"(?:^|/)\.{0,2}(?:/|$)"
_MATCHES = {"row": pl.UInt32, "template": pl.UInt16, "record_id": pl.String}


def match_columns(paths: pl.Series, templates: Sequence[Template], ids: IdPattern) -> pl.DataFrame:
    """Find every path that matches a pattern.

    Args:
        paths: Paths below the root of the templates.
        templates: Bound templates; those that do not determine the id match nothing here.
        ids: The id pattern.

    Returns:
        A row per match: `row` (position in `paths`), `template` (position in `templates`), `record_id`.

    Example:
        >>> from sinagot_catalog.patterns.template import parse_template
        >>> raw = parse_template("raw/{id}.csv", fields={"id"})
        >>> paths = pl.Series(["raw/REC-1.csv", "raw/x.csv", "REC-1.csv"])
        >>> match_columns(paths, [raw], IdPattern(r"REC-[0-9]+")).rows()
        [(0, 0, 'REC-1')]
    """
    frame = paths.rename("path").to_frame().with_row_index("row").lazy()
    plain, matches = [], []
    for number, template in enumerate(templates):
        key = pl.lit(number, dtype=pl.UInt16).alias("template")
        if template.fields == {"id"} and not template.is_wild:
            plain.append(cut_id(frame, template.tokens, "path").select("row", key, "record_id"))
        elif template.is_wild and ids.is_told_by(template):
            matches.append(_match_wild(frame, template, ids).select("row", key, "record_id"))
        elif ids.is_told_by(template):
            for absent, variant in template.variants.items():
                fits = _match_grouped(frame, variant, absent, ids)
                matches.append(fits.select("row", key, "record_id"))
    if plain:
        # Without optimization: merged into one filter, all conditions would be computed for every path.
        cut = pl.concat(pl.collect_all(plain, optimizations=pl.QueryOptFlags.none()))
        matches.insert(0, cut.filter(fitting(cut["record_id"], ids)))
    return pl.concat(matches).cast(_MATCHES) if matches else pl.DataFrame(schema=_MATCHES)  # type: ignore[arg-type]


def _match_wild(frame: pl.LazyFrame, template: Template, ids: IdPattern) -> pl.DataFrame:
    """The rows that match a pattern with wildcards: their reduced paths match the reduced pattern."""
    parts = [pl.DataFrame(schema=_MATCHES).drop("template")]
    whole = frame.collect()
    for absent, way in reductions(template, ids).items():
        reduced = whole.select("row", reduced_paths(whole["path"], way).alias("path")).drop_nulls()
        distinct = reduced.select("path").unique().with_row_index("row")
        found = _match_grouped(distinct.lazy(), way.reduced, absent, ids).select("path", "record_id")
        parts.append(reduced.join(found, on="path").select("row", "record_id"))
    return pl.concat(parts).unique()


def reduced_paths(paths: pl.Series, way: Reduction) -> pl.Series:
    r"""The reduced path of each path, null if it does not match; see `patterns.wildcards`.

    Example:
        >>> from sinagot_catalog.patterns.template import parse_template
        >>> one = parse_template("raw/{id}/*.png", fields={"id"}, wildcards=True)
        >>> (way,) = reductions(one, IdPattern(r"R\d+")).values()
        >>> reduced_paths(pl.Series(["raw/R1/a.png", "raw/R1/a.txt"]), way).to_list()
        ['raw/R1', None]
    """
    text = f"(?s)^{way.regex}$"
    if not way.n_groups:
        fits = pl.col("path").str.contains(text)
        return paths.to_frame("path").select(pl.when(fits).then(pl.lit(way.reduced.text)))["literal"]
    groups = pl.col("path").str.extract_groups(text).struct
    names = [str(number) for number in range(1, way.n_groups + 1)]
    # a group that is absent makes the whole text null
    joined = pl.concat_str([groups.field(name) for name in names], separator="/")
    return paths.to_frame("path").select(joined.alias("path"))["path"]


def wild_paths(paths: pl.Series, records: pl.DataFrame, template: Template, ids: IdPattern) -> pl.DataFrame:
    """The paths that a pattern with wildcards has for each record: columns `row` (in `paths`) and `_rec`.

    Args:
        paths: Paths below the root of the template.
        records: `record_id` and the named groups, a row per record.
        template: A pattern with wildcards, which may or may not determine the record.
        ids: The id pattern.
    """
    parts = [pl.DataFrame(schema={"row": pl.UInt32, "_rec": pl.UInt32})]
    for absent, way in reductions(template, ids).items():
        files = reduced_paths(paths, way).to_frame("path").with_row_index("row").drop_nulls()
        wanted = (
            records.select(_path_of(way.reduced, absent).alias("path")).with_row_index("_rec").drop_nulls()
        )
        parts.append(files.join(wanted, on="path").select("row", "_rec"))
    return pl.concat(parts).unique()


def paths_of(template: Template) -> pl.Expr:
    """The path of a template for each row of a frame with `record_id` and the named groups as columns.

    It is null if the template has no path for the row: a field that it needs has no value, or a part is empty.

    Example:
        >>> from sinagot_catalog.patterns.template import parse_template
        >>> raw = parse_template("raw/{id}.csv", fields={"id"})
        >>> pl.DataFrame({"record_id": ["A", "B"]}).select(paths_of(raw)).to_series().to_list()
        ['raw/A.csv', 'raw/B.csv']
    """
    if template.fields <= {"id"} and not template.has_bare_parts:
        return _filled(template.tokens)
    return pl.coalesce(_path_of(variant, absent) for absent, variant in template.variants.items())


def _path_of(variant: Template, absent: Collection[str]) -> pl.Expr:
    """The path of a variant for records in which all its fields, and none of the absent fields, have a value."""
    path = _filled(variant.tokens)
    holds = [pl.col(name) != "" for name in sorted(variant.fields - {"id"})]
    holds += [pl.col(name) == "" for name in sorted(absent)]
    if variant.has_bare_parts:
        holds.append(~path.str.contains(_NO_NAME))
    return pl.when(pl.all_horizontal(holds)).then(path) if holds else path


def id_columns(ids: pl.Series, pattern: IdPattern) -> pl.DataFrame:
    """The ids beside one String column per named group, `""` if a group did not match.

    Args:
        ids: Record ids that fit the pattern; for other texts the groups are null.
        pattern: The id pattern.

    Example:
        >>> id_columns(pl.Series(["A-1", "B-2"]), IdPattern(r"(?P<site>[A-Z])-[0-9]")).rows()
        [('A-1', 'A'), ('B-2', 'B')]
    """
    frame = ids.rename("record_id").cast(pl.String).to_frame()
    if not pattern.groups:
        return frame
    rust = rust_of(pattern)
    if rust is None or not rust.has_groups:
        values_of = [pl.lit(None, pl.String).alias(name) for name in pattern.groups]
        is_hard = pl.lit(value=True)
    else:
        groups = pl.col("record_id").str.extract_groups(rust.text).struct
        values_of = [groups.field(name).fill_null("").alias(name) for name in pattern.groups]
        is_hard = is_wide(pl.col("record_id"), rust)
    out = frame.with_columns(*values_of, is_hard.alias("hard?"))  # no group can have this name
    hard = out.drop_in_place("hard?")
    if hard.any():
        unique = frame.filter(hard)["record_id"].unique()
        matches = [pattern.regex.fullmatch(text) for text in unique]
        values = {name: [match and (match[name] or "") for match in matches] for name in pattern.groups}
        table = pl.DataFrame({"record_id": unique, **values}, schema=dict.fromkeys(out.columns, pl.String))
        slow = frame.join(table, on="record_id", how="left", maintain_order="left")
        out = out.with_columns(slow[name].zip_with(hard, out[name]) for name in pattern.groups)
    return out


def id_values(record_id: str, pattern: IdPattern) -> dict[str, str] | None:
    """The values of the placeholders for an id, or None if it does not fit; takes bounded time for any id.

    Raises:
        PatternError: When only Python's engine can match the pattern, and might run forever.

    Example:
        >>> id_values("A-1", IdPattern("(?P<site>[A-Z])-[0-9]"))
        {'id': 'A-1', 'site': 'A'}
        >>> id_values("R" * 60, IdPattern("(R|R)*y"))
    """
    column = pl.Series([record_id], dtype=pl.String)
    if not is_safe_id(record_id) or not fitting(column, pattern).item():
        return None
    return {"id": record_id, **id_columns(column, pattern).drop("record_id").row(0, named=True)}


def near_misses(
    paths: pl.Series, templates: Sequence[Template], ids: IdPattern, most: int = 3
) -> list[tuple[str, str]]:
    """Examples of paths under a template's literal folder that match no template.

    Returns:
        Pairs of a path and the text of the template that it resembles most.

    Example:
        >>> from sinagot_catalog.patterns.template import parse_template
        >>> raw = parse_template("raw/{id}-raw.csv", fields={"id"})
        >>> near_misses(pl.Series(["raw/REC-1.csv"]), [raw], IdPattern("REC-[0-9]+"))
        [('raw/REC-1.csv', 'raw/{id}-raw.csv')]
    """
    if not templates:
        return []
    fitting = match_columns(paths, templates, ids)["row"].unique()
    has_row = pl.int_range(len(paths), dtype=pl.UInt32, eager=True).is_in(fitting.implode())
    near = reduce(or_, [paths.str.starts_with(template.prefix) for template in templates])
    missed = paths.filter(near & ~has_row).bottom_k(most).sort()
    return [(path, max(templates, key=lambda template: _likeness(path, template)).text) for path in missed]


def _likeness(path: str, template: Template) -> tuple[bool, float]:
    ratios = (SequenceMatcher(None, path, way.text).ratio() for way in template.variants.values())
    return path.startswith(template.prefix), max(ratios)


# -- cutting ids out of paths --------------------------------------------------------------------------


def _filled(tokens: Tokens) -> pl.Expr:
    """The tokens as a text expression, one value per row of the frame."""
    parts = [
        pl.col("record_id" if value == "id" else value) if kind == "field" else pl.lit(value)
        for kind, value in tokens
    ]
    if not any(kind == "field" for kind, _ in tokens):
        parts.append(pl.col("record_id").str.head(0))
    return pl.concat_str(parts)


def ends_of(tokens: Tokens) -> tuple[str, str]:
    """The literal text before the first and after the last placeholder."""
    first, last = tokens[0], tokens[-1]
    return first[1] if first[0] == "text" else "", last[1] if last[0] == "text" else ""


def _framed(frame: pl.LazyFrame, tokens: Tokens, column: str) -> pl.LazyFrame:
    """The rows whose texts start and end with the literal ends of the tokens, without overlap."""
    head, tail = ends_of(tokens)
    conditions = []
    if head:
        conditions.append(pl.col(column).str.starts_with(head))
    if tail:
        conditions.append(pl.col(column).str.ends_with(tail))
    return frame.filter(*conditions)


def cut_id(frame: pl.LazyFrame, tokens: Tokens, column: str) -> pl.LazyFrame:
    """The rows whose texts match tokens with `{id}` as only placeholder, and `record_id`, not yet checked."""
    frame, text = _framed(frame, tokens, column), pl.col(column)
    head, tail = ends_of(tokens)
    times = sum(kind == "field" for kind, _ in tokens)
    if times == 1:
        size = len(head.encode()) + len(tail.encode())
        found = frame.filter(text.str.len_bytes() > size) if head and tail else frame
        return found.with_columns(text.str.strip_prefix(head).str.strip_suffix(tail).alias("record_id"))
    space = text.str.len_chars().cast(pl.Int64) - sum(len(value) for kind, value in tokens if kind == "text")
    return (
        frame.filter(space > 0, space % times == 0)
        .with_columns(text.str.slice(len(head), space // times).alias("record_id"))
        .filter(_filled(tokens) == text)
    )


def _match_grouped(
    frame: pl.LazyFrame, variant: Template, absent: frozenset[str], ids: IdPattern
) -> pl.DataFrame:
    """The rows that match a template with fields of the id, with or without `{id}`.

    Args:
        frame: Columns `row` and `path`.
        variant: A pattern without optional fields.
        absent: The fields that have no value in this variant.
        ids: The id pattern.
    """
    # No field contains a slash, so path and pattern have the same number of parts.
    slashes = pl.col("path").str.count_matches("/", literal=True)
    framed = _framed(frame, variant.tokens, "path").filter(slashes == len(variant.parts) - 1).collect()
    cut = cut_ids(framed, variant, absent, ids).select("row", "path", "record_id")
    if cut["row"].n_unique() < cut.height:  # several splits of a path may give the same id
        cut = cut.unique()
    unique = cut["record_id"].unique()
    values = id_columns(unique.filter(fitting(unique, ids)), ids)
    return cut.join(values, on="record_id").filter(_path_of(variant, absent) == pl.col("path"))
