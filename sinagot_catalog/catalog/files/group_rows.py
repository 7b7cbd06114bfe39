"""Group rows: the groups of records that group steps run over, and the group of each record. Pure.

A group is a further code behind the codes of the records, so that columns with a row per record also have a row per
group.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import polars as pl

from sinagot_catalog.patterns import ALL_RECORDS, ESCAPES
from sinagot_catalog.startup import dataclass


@dataclass(frozen=True)
class GroupRows:
    """The groups of the records of one listing.

    Attributes:
        values: `record_id` (the id of the group) and the fields of the id pattern, a row per group. A field that
            the group does not name is null.
        codes: For each list of fields the code of the group of each record.
    """

    values: pl.DataFrame
    codes: dict[tuple[str, ...], pl.Series]

    def of(self, by: Sequence[str]) -> pl.Series:
        """Return the codes of the groups over some fields, sorted."""
        return self._codes(by).unique().sort()

    def _codes(self, by: Sequence[str]) -> pl.Series:
        """The group of each record; without values if a name is not a field."""
        return self.codes.get(tuple(by), pl.Series("_rec", [], dtype=pl.UInt32))

    def members(self, by: Sequence[str], lower: Sequence[str] | None = None) -> pl.DataFrame:
        """Return the members of the groups over some fields: columns `_rec` (the group) and `_member`.

        Args:
            by: The fields.
            lower: The fields of the groups that are the members; by default the records are.
        """
        group = self._codes(by)
        member = (
            pl.int_range(len(group), dtype=pl.UInt32, eager=True) if lower is None else self._codes(lower)
        )
        pairs = pl.DataFrame([group.alias("_rec"), member.alias("_member")])
        return (pairs if lower is None else pairs.unique()).sort("_rec", "_member")


def group_ids(records: pl.DataFrame, by: Sequence[str]) -> pl.Series:
    """Return the id of the group of each record.

    Args:
        records: The fields of the id pattern, a row per record.
        by: The fields of the groups.

    Example:
        >>> records = pl.DataFrame({"sub": ["01", "01"], "ses": ["a,b", ""]})
        >>> group_ids(records, ["sub", "ses"]).to_list()
        ['sub=01,ses=a%2Cb', 'sub=01']
    """
    if not by:
        return pl.Series("record_id", [ALL_RECORDS]).new_from_index(0, records.height)
    parts = []
    for name in by:
        value = pl.col(name)
        for char, code in ESCAPES:
            value = value.str.replace_all(char, code, literal=True)
        parts.append(pl.when(pl.col(name) != "").then(pl.format(f"{name}={{}}", value)))
    text = pl.concat_str(parts, separator=",", ignore_nulls=True)
    return records.select(
        pl.when(text == "").then(pl.lit(f"{by[0]}=")).otherwise(text).alias("record_id")
    ).to_series()


def group_rows(records: pl.DataFrame, bys: Iterable[tuple[str, ...]]) -> GroupRows:
    """Find the groups of records.

    Args:
        records: `record_id` and the fields of the id pattern, a row per record.
        bys: The lists of fields of the group steps.
    """
    ids = {by: group_ids(records, by) for by in bys}
    fields = [name for name in records.columns if name != "record_id"]
    parts = [pl.DataFrame(schema=dict.fromkeys(("record_id", *fields), pl.String))]
    for by, names in ids.items():
        own = [pl.col(name) if name in by else pl.lit(None, pl.String).alias(name) for name in fields]
        parts.append(records.select(names, *own).unique())
    # two lists of fields may give the same id: `sub=01` is also the group of the records without a session
    values = pl.concat(parts).group_by("record_id").agg(pl.all().max()).sort("record_id")
    codes = values.select("record_id").with_row_index("_rec", offset=records.height)
    return GroupRows(
        values.select("record_id", *fields),
        {
            by: names.to_frame().join(codes, on="record_id", how="left", maintain_order="left")["_rec"]
            for by, names in ids.items()
        },
    )
