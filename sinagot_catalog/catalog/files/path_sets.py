"""Path sets: compare columns of paths: by the folders in them, and without case. Pure."""

from __future__ import annotations

import re
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sinagot_catalog.patterns import Template


def cut(paths: pl.Series, depth: int) -> pl.Series:
    """The first parts of each path, null if it has fewer."""
    return paths.str.extract(f"(?s)^((?:[^/]+/){{{depth - 1}}}[^/]+)", 1)


def meets(paths: pl.Series, others: pl.Series) -> pl.Series:
    """Whether each path is one of the other paths, lies in one of them, or contains one of them.

    Example:
        >>> meets(pl.Series(["a/b", "c", "d"]), pl.Series(["a", "c/e"])).to_list()
        [True, True, False]
    """
    others = others.drop_nulls().unique()
    depths, other_depths = (
        (some.str.count_matches("/", literal=True) + 1).drop_nulls().unique().to_list()
        for some in (paths, others)
    )
    around = [depth for depth in other_depths if depth < max(depths, default=0)]
    inside = [depth for depth in depths if depth < max(other_depths, default=0)]
    same = [paths, *(cut(paths, depth) for depth in around)]
    every = [others, *(cut(others, depth) for depth in inside)]
    is_met = [part.is_in(others.implode()) for part in same] + [paths.is_in(pl.concat(every).implode())]
    return reduce(or_, is_met).fill_null(value=False)


def is_below(paths: pl.Series, folders: Iterable[str]) -> pl.Series:
    """Whether each path lies in one of the folders, which end in `/`: one comparison per depth."""
    depths: dict[int, list[str]] = {}
    for folder in folders:
        depths.setdefault(folder.count("/"), []).append(folder)
    path = pl.col("path")
    within = [
        path.str.extract(f"^((?:[^/]*/){{{depth}}})", 1).is_in(some).fill_null(value=False)
        for depth, some in depths.items()
    ]
    told = pl.when(path.is_not_null()).then(pl.any_horizontal(within))
    return paths.rename("path").to_frame().select(told.alias("path"))["path"]


def folded(names: pl.Series) -> pl.Series:
    """Return names without case, in one form of Unicode.

    Example:
        >>> folded(pl.Series(["R\u00c9", "re\u0301"])).n_unique()
        1
    """
    is_ascii = names.str.len_bytes().sum() == names.str.len_chars().sum()
    return names.str.to_lowercase() if is_ascii else names.str.normalize("NFC").str.to_lowercase()


def visible(paths: Iterable[str], templates: Iterable[Template]) -> pl.Series:
    """Leave out hidden files: paths with a name that begins with a dot, unless a pattern has such a name.

    Example:
        >>> from sinagot_catalog.patterns import parse_template
        >>> one = parse_template("{id}/.hydra/a.yaml", fields={"id"})
        >>> visible(["R1/.hydra/b.yaml", "R1/.DS_Store"], [one]).to_list()
        ['R1/.hydra/b.yaml']
    """
    firsts = {part[0] for template in templates for part in template.parts}
    named = [re.escape(text) for kind, text in firsts if kind == "text" and text.startswith(".")]
    series = pl.Series("path", paths, dtype=pl.String)
    dots = series.str.count_matches(r"(?:^|/)\.")
    return series.filter(dots == (series.str.count_matches(rf"(?:^|/)(?:{'|'.join(named)})") if named else 0))
