"""Group steps: the state of each member of a group, and from it whether the group can run, and why not. Pure.

A member is in when all inputs that a group step reads of it are there. It waits while a step that makes one of them
is ready, running or waiting itself, or unknown. It blocks when that step failed. A member is left out when one of
these inputs can never come, as its raw data are absent.
"""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import TYPE_CHECKING

import polars as pl

from sinagot_catalog.catalog.expressions import only
from sinagot_catalog.errors import NotFoundError, did_you_mean, row_label
from sinagot_catalog.startup import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sinagot_catalog.catalog.steps_table import StepsTable
    from sinagot_catalog.catalog.structure.layout import Link, UnitStep

CLAUSES = pl.Struct(dict.fromkeys(("_members", "_awaited", "_blocked", "_member"), pl.String()))
"""The clauses on the members of a group.

How many are there, the step and the member that it waits for, those that failed, and what to exclude instead.
"""


@dataclass(frozen=True)
class GroupStates:
    """The state of the groups of one group step.

    Attributes:
        members: A row per member: `_rec` (its group), `_member`, `is_in`, `waits` and `blocks` (the unit step that
            it waits for, or that failed), `is_gone` (an input never comes), `is_unknown` (one cannot be seen).
        sums: A row per record and group. The numbers of members in each state: `n`, `n_in`, `n_waits`, `n_blocks`,
            `n_unknown`. The first member that blocks, waits or is left out (`first`), and the unit step that is the
            reason (`maker`). Whether the members let the group run (`ready`); whether one that failed holds it back
            (`blocked`); whether those that failed keep it from running or leave it none (`lost`); whether an input
            of one lies below a folder that cannot be read (`unknown`); whether steps have yet to run for members
            that hold it back (`waiting`).
    """

    members: pl.DataFrame
    sums: pl.DataFrame

    def lacking(self, groups: pl.Series) -> tuple[pl.Series, pl.Series]:
        """The first member that holds each of some groups back, and how many more there are, in words."""
        held = pl.max_horizontal("n_waits", "n_blocks")
        count = pl.when(held > 0).then(held).otherwise("n")
        sums = self.sums[groups].select(pl.col("first").fill_null(0), _more(count).alias("more"))
        return sums["first"], sums["more"]


class GroupSteps:
    """Judges the groups of group steps, as whole columns over their members.

    Args:
        table: The table `steps`.
    """

    def __init__(self, table: StepsTable) -> None:
        self._table = table
        self._layout = table.layout
        self._states: dict[int, GroupStates] = {}
        self._held_upstream: dict[int, set[int]] = {}

    def states(self, cell: UnitStep) -> GroupStates:
        """Return the states of the groups of a group step."""
        if cell.index not in self._states:
            self._states[cell.index] = self.states_with(cell, {})
        return self._states[cell.index]

    def valid(self, cell: UnitStep) -> pl.Series:
        """Whether a record or group has a row of a unit step, a row per record and group."""
        table = self._table
        if cell.by is None:
            return pl.int_range(table.n_rows, eager=True) < len(table.ids)
        return table.nobody.scatter(table.groups.of(cell.by), True)

    def check(self, cell: UnitStep, group: str) -> None:
        """Raise an error if a group step has no such group.

        Raises:
            NotFoundError: Names the group of a record, or similar groups.
        """
        table = self._table
        ids = table.row_ids.gather(table.groups.of(cell.by or ()))
        if group in ids:
            return
        name = row_label(cell.task, cell.modality, cell.step)
        record = table.ids.index_of(group)
        if record is not None:
            own = table.row_ids[int(self.code_of(cell, record) or 0)]
            raise NotFoundError(
                f"{name} runs once per group, not per record", f"The group of {group} is {own!r}."
            )
        full_names = {
            ",".join(part.partition("=")[2] for part in record_id.split(",")): record_id for record_id in ids
        }
        near = did_you_mean(full_names.get(group, group), full_names.values())
        raise NotFoundError(f"{name} has no group {group!r}{near}")

    def code_of(self, cell: UnitStep, row: int) -> int | None:
        """The code of a unit step's row for a record or a group: itself, or the group of the record; else None."""
        if self.valid(cell)[row]:
            return row
        known = cell.by is not None and row < len(self._table.ids)
        return int(self.group_of(cell)[row]) if known else None

    def member_ports(self, cell: UnitStep) -> list[list[Link]]:
        """Return the inputs that each member has."""
        return [port for port in cell.input_ports if not self._layout.is_own(cell, port)]

    def members(self, cell: UnitStep) -> pl.DataFrame:
        """Return the members of the groups of a group step: columns `_rec` (the group) and `_member`."""
        return self._table.groups.members(cell.by or (), self._layout.member_by(cell))

    def records_of(self, cell: UnitStep) -> pl.DataFrame:
        """Return the records of the groups of a group step: columns `_rec` (the group) and `_member`."""
        return self._table.groups.members(cell.by or ())

    def group_of(self, cell: UnitStep) -> pl.Series:
        """Return the code of the group of a group step that each record belongs to."""
        return self._table.groups.codes[cell.by or ()]

    def states_with(self, cell: UnitStep, new_outputs: Mapping[int, pl.Series]) -> GroupStates:
        """Return the states of the groups of a group step when a run has made some paths.

        Args:
            cell: The group step.
            new_outputs: For bound patterns whether the run makes the path, a row per record and group.
        """
        members = self.members(cell)
        codes = members["_member"]
        no = pl.Series([False]).new_from_index(0, len(codes))
        none = pl.Series([None], dtype=pl.UInt16).new_from_index(0, len(codes))
        gone, unknown, waits, blocks = no, no, none, none
        seen = frozenset({cell.index})
        for port in self.member_ports(cell):
            new = {
                link.place: new_outputs[link.place].gather(codes)
                for link in port
                if link.place in new_outputs
            }
            there = reduce(or_, new.values(), self._table.port_presence(port).gather(codes))
            hidden = [mask for link in port if (mask := self._table.unknown[link.place]) is not None]
            hides = reduce(or_, [mask.gather(codes) & ~there for mask in hidden], no)
            unknown, comes = unknown | hides, there | hides
            for maker, place, at, makes in self._makers(cell, port, codes):
                lacks = makes & ~new[place] if place in new else makes
                lacks = lacks if self._table.is_soft(port) else lacks & ~there
                coming = lacks & self._table.is_coming(maker, seen).gather(at)
                waits = _first(waits, coming, maker)
                if not port[0].is_optional:
                    fails = lacks & ~there & self._table.is_failing(maker, seen).gather(at)
                    blocks = _first(blocks, fails, maker)
                    comes = comes | coming | fails
            gone = gone if port[0].is_optional else gone | ~comes
        left = reduce(or_, [mask for _, mask in self.excluded(cell, codes, self._table.excluded)], gone)
        states = members.with_columns(
            (~left & ~unknown & waits.is_null() & blocks.is_null()).alias("is_in"),
            waits.zip_with(~left, none).alias("waits"),
            blocks.zip_with(~left, none).alias("blocks"),
            gone.alias("is_gone"),
            (unknown & ~left).alias("is_unknown"),
        )
        return GroupStates(states, self._sums(states, cell))

    def excluded(
        self, cell: UnitStep, members: pl.Series, masks: Mapping[int, pl.Series]
    ) -> list[tuple[int, pl.Series]]:
        """Return which members are excluded, or made by excluded rows; each with the unit step that is the reason.

        Args:
            cell: The group step.
            members: The codes of members.
            masks: By unit step its excluded rows.
        """
        found = [(cell.index, masks[cell.index].gather(members))] if cell.index in masks else []
        for port in self.member_ports(cell):
            found += [
                (maker, masks[maker].gather(at) & makes)
                for maker, _, at, makes in self._makers(cell, port, members)
                if maker in masks
            ]
        return found

    def _makers(
        self, cell: UnitStep, port: Sequence[Link], members: pl.Series
    ) -> Iterator[tuple[int, int, pl.Series, pl.Series]]:
        """Yield the steps that make an input of members.

        Each is a unit step and the bound pattern that it makes, with the codes of its rows for the members, and for
        which of these it makes the path. A step that itself waits for the group is left out: neither can ever run.
        """
        lower, codes = self._layout.member_by(cell), self._table.groups.codes
        for link in port:
            for maker in self._table.makers.get(link.place, ()):
                by = self._layout.cells[maker].by
                if cell.index in self.upstream(maker) or (
                    by != lower and (lower is not None or by not in codes)
                ):
                    continue  # its rows do not correspond to the members
                at = self._rows_of(maker, cell, members)
                yield maker, link.place, at, self._table.made_by(link.place, maker).gather(members)

    def _rows_of(self, maker: int, cell: UnitStep, members: pl.Series) -> pl.Series:
        """The codes of a step's rows for members of a group step."""
        by = self._layout.cells[maker].by
        own = by is None or by == self._layout.member_by(cell)
        return members if own else self._table.groups.codes[by or ()].gather(members)

    def upstream(self, cell: int) -> set[int]:
        """A unit step, the steps that make its inputs, the steps that make theirs, and so on."""
        if cell not in self._held_upstream:
            found, new = set[int](), {cell}
            while new:
                found |= new
                links = [
                    link for each in new for port in self._layout.cells[each].input_ports for link in port
                ]
                new = {maker for link in links for maker in self._table.makers.get(link.place, ())} - found
            self._held_upstream[cell] = found
        return self._held_upstream[cell]

    def _sums(self, states: pl.DataFrame, cell: UnitStep) -> pl.DataFrame:
        """The numbers of members by state, and what follows from them, a row per record and group."""
        order = (
            pl.when(pl.col("blocks").is_not_null()).then(0)
            .when(pl.col("waits").is_not_null()).then(1)
            .when(pl.col("is_gone")).then(2).otherwise(3)
        )  # fmt: skip
        sums = states.group_by("_rec").agg(
            pl.len().alias("n"),
            pl.col("is_in").sum().alias("n_in"),
            pl.col("waits").is_not_null().sum().alias("n_waits"),
            pl.col("blocks").is_not_null().sum().alias("n_blocks"),
            pl.col("is_unknown").sum().alias("n_unknown"),
            pl.col("_member").sort_by(order, maintain_order=True).first().alias("first"),
            pl.coalesce("blocks", "waits").sort_by(order, maintain_order=True).first().alias("maker"),
        )
        rows = pl.DataFrame({"_rec": pl.int_range(self._table.n_rows, dtype=pl.UInt32, eager=True)})
        has_in, waits, blocks = (pl.col(name) > 0 for name in ("n_in", "n_waits", "n_blocks"))
        blocked = pl.lit(value=False) if cell.is_partial else blocks
        follows = {
            "ready": has_in & ~waits & ~blocked,
            "blocked": blocked,
            "lost": blocked | (blocks & ~has_in & ~waits),
            "unknown": pl.col("n_unknown") > 0,
            "waiting": waits & ~blocked,
        }
        found = rows.join(sums, on="_rec", how="left", maintain_order="left")
        return found.with_columns(value.fill_null(value=False).alias(name) for name, value in follows.items())

    # --- from groups to records, and back ------------------------------------------------------------------

    def spread(self, cell: UnitStep, values: pl.Series) -> pl.Series:
        """Give the rows below each group of a group step, records and smaller groups, its value."""
        codes = self._table.groups.codes
        groups = None if cell.by is None else codes.get(cell.by)
        if cell.by is None or groups is None:
            return values
        below = [rows for by, rows in codes.items() if set(by) > set(cell.by)]
        at = pl.int_range(self._table.n_rows, dtype=pl.UInt32, eager=True)
        for rows in (pl.int_range(len(groups), dtype=pl.UInt32, eager=True), *below):
            at = at.scatter(rows, groups)
        return values.gather(at)

    def _pairs(self) -> pl.DataFrame:
        """Every group with each of its records: columns `_rec` (the group) and `_member`."""
        groups = self._table.groups
        return pl.concat([groups.members(by) for by in groups.codes]).unique()

    def in_groups(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return rows with the keys of `steps`: those of group steps have the group of each record in its place."""
        by_group = [cell for cell in self._layout.cells if cell.by is not None]
        parts = [rows.filter(~pl.col("_cell").is_in([cell.index for cell in by_group]))]
        for cell in by_group:
            part = rows.filter(pl.col("_cell") == cell.index, pl.col("_rec") < len(self._table.ids))
            parts.append(part.with_columns(self.group_of(cell).gather(part["_rec"])))
        return pl.concat(parts)

    def with_members(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return rows of `steps` with the records of each group in place of the group."""
        parts = [rows]
        groups = rows.filter(pl.col("by").is_not_null())
        for (key,), part in groups.partition_by("_cell", as_dict=True).items():
            records = self.records_of(self._layout.cells[int(str(key))])
            members = part.join(records, on="_rec").drop("_rec").rename({"_member": "_rec"})
            parts.append(members.select(rows.columns))
        return pl.concat(parts)

    def with_groups(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return the keys of rows of `records` or `units`, and of groups all of whose records are among them."""
        keys = [name for name in ("_rec", "_unit") if name in rows.columns]
        held = rows.select(keys).unique()
        others = [name for name in keys if name != "_rec"]
        pairs = self._pairs()
        sizes = pairs.group_by("_rec").len("_size")
        whole = (
            held.rename({"_rec": "_member"})
            .join(pairs, on="_member")
            .group_by("_rec", *others)
            .len("_held")
            .join(sizes, on="_rec")
            .filter(pl.col("_held") == pl.col("_size"))
        )
        return pl.concat([held, whole.select(held.columns)])

    def with_group_values(self, records: pl.DataFrame) -> pl.DataFrame:
        """Add to columns of `records` a row per group: a value that all its records share, else null."""
        ids = self._table.row_ids
        pairs = self._pairs()
        members = pairs.select(
            ids.gather(pairs["_rec"]).alias("_group"), ids.gather(pairs["_member"]).alias("record_id")
        ).join(records, on="record_id", how="left")
        shared = [only(pl.col(name)).alias(name) for name in records.columns if name != "record_id"]
        groups = members.group_by(pl.col("_group").alias("record_id"), maintain_order=True).agg(shared)
        return pl.concat([records, groups.select(records.columns)])

    # --- sentences ---------------------------------------------------------------------------------------

    def sentences(self, cell: UnitStep, part: pl.DataFrame) -> pl.DataFrame:
        """Return the clauses on members that sentences need, for rows of a group step.

        They are the columns of `CLAUSES`.
        """
        rows = self.states(cell).sums[part["_rec"]]
        table = self._table
        names = [table.step_name(maker, cell) for maker in self._layout.cells]
        step = pl.col("maker").replace_strict(dict(enumerate(names)), default=None, return_dtype=pl.String)
        first = rows["first"].fill_null(0)
        failures = [
            (rows["maker"] == maker) & table.has_failed(maker).gather(self._rows_of(maker, cell, first))
            for maker in rows["maker"].filter(rows["blocked"]).unique()
        ]
        has_failed = pl.lit(reduce(or_, failures, rows["maker"].is_null()))
        member = pl.lit(table.row_ids.gather(first))
        to_exclude = pl.when(pl.lit(first < len(table.ids))).then(member)
        others = _more(pl.when("blocked").then(pl.col("n_blocks")).otherwise(pl.col("n_waits")))
        what = pl.format("{} of {}{}", step, member, others)
        all_in = pl.when(pl.col("n") > 1).then(pl.format("all {} members are there", "n"))
        count = pl.when(pl.col("n_in") == pl.col("n")).then(
            all_in.otherwise(pl.lit("its only member is there"))
        ).otherwise(pl.format("{} of {} members are there", "n_in", "n"))  # fmt: skip
        if not self.member_ports(cell):
            count = pl.lit(None, pl.String)  # it reads no file of single members
        return rows.select(
            count.alias("_members"),
            pl.when("waiting").then(what).alias("_awaited"),
            pl.when("blocked")
            .then(
                pl.when(has_failed)
                .then(pl.format("{} failed", what))
                .otherwise(pl.format("{} cannot run, as an earlier step failed", what))
            )
            .alias("_blocked"),
            pl.when("blocked")
            .then(to_exclude.otherwise(pl.format("the records of {}", member)))
            .alias("_member"),
        )

    # --- paths of members ----------------------------------------------------------------------------------

    def paths(self, cell: UnitStep, port: Sequence[Link], rows: pl.DataFrame) -> pl.DataFrame:
        """Attach the paths of an input of members to rows of groups, as `Presence.port_paths` does.

        They are the files of the members that are in, each once, and the absent paths that groups wait for.
        """
        is_held = pl.col("waits").is_not_null() | pl.col("blocks").is_not_null()
        members = self.states(cell).members.select(
            pl.col("_rec").alias("_group"), pl.col("_member").alias("_rec"), "is_in", is_held.alias("is_held")
        )
        some = members.filter(
            pl.col("is_in") | pl.col("is_held"), pl.col("_group").is_in(rows["_rec"].unique().implode())
        )
        found = self._table.port_paths(port, some).drop_nulls("path")
        found = found.filter(pl.when("exists").then("is_in").otherwise("is_held"))
        once = found.unique(["_group", "path"], keep="first", maintain_order=True)
        paths = once.select(pl.col("_group").alias("_rec"), "root", "path", "exists", "_place")
        return rows.join(paths.sort("_rec", "path"), on="_rec", maintain_order="left_right")


def _first(before: pl.Series, now: pl.Series, maker: int) -> pl.Series:
    """Set the unit step of the members that have none yet and for which a condition is true."""
    new = pl.Series([maker], dtype=pl.UInt16).new_from_index(0, len(before))
    return before.zip_with(before.is_not_null() | ~now.fill_null(value=False), new)


def _more(count: pl.Expr) -> pl.Expr:
    """How many more there are than the one that a sentence names."""
    return pl.when(count > 1).then(pl.format(" and {} more", count - 1)).otherwise(pl.lit(""))
