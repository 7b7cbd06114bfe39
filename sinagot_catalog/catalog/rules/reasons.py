"""Reasons: the sentences of rows of `steps` that explain their status and name their absent inputs. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from sinagot_catalog.catalog.files.row_positions import positions
from sinagot_catalog.catalog.rules import status_rules
from sinagot_catalog.catalog.rules.groups import CLAUSES
from sinagot_catalog.patterns import paths_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sinagot_catalog.catalog.steps_table import StepsTable
    from sinagot_catalog.catalog.structure.layout import UnitStep

_READ = ("_rec", "_cell", "_last", "_event", "_rule", "n_inputs_found", "n_inputs", "missing", "by")
"""The columns that a sentence needs."""

_EXCLUSION = pl.Struct({"reason": pl.String(), "source": pl.String()})
_FOLDERS = 3
"""Number of unreadable folders that a sentence names."""


def missing(table: StepsTable, rows: pl.DataFrame) -> pl.Series:
    """The absent inputs of rows of `steps`, joined by `; `."""

    def derive(cell: UnitStep, part: pl.DataFrame) -> pl.Series:
        texts = []
        for port in cell.required:
            names = [_path_or_gap(table, link.place) for link in port]
            several = pl.concat_str(names, separator=" or ", ignore_nulls=True)
            text = names[0] if len(names) == 1 else pl.when(several != "").then(several)
            if table.layout.is_own(cell, port):
                texts.append((table.port_presence(port), text))
                continue
            states = table.group_steps.states(cell)
            member, more = states.lacking(part["_rec"])
            lacks = ~pl.lit(table.port_presence(port).gather(member))
            named = table.path_values[member].select(pl.when(lacks).then(text + pl.lit(more)).alias("text"))[
                "text"
            ]
            texts.append((states.sums["ready"], pl.lit(named)))
        return _absent(table, part, texts)

    return table.by_unit_step("missing", rows, pl.col("n_inputs_found") < pl.col("n_inputs"), derive)


def _path_or_gap(table: StepsTable, place: int) -> pl.Expr:
    """The path of a bound pattern; without one, the metadata column that has no value for it."""
    path = paths_of(table.layout.places[place].template)
    gaps = [
        pl.when(pl.col(name) == "").then(pl.lit(f"{name} unknown"))
        for name in table.layout.columns.get(place, ())
    ]
    return pl.coalesce(path, *gaps) if gaps else path


def reason(table: StepsTable, rows: pl.DataFrame) -> pl.Series:
    """One short sentence per row of `steps` that explains its status."""
    plain = rows.select(status_rules.plain_reason()).to_series()
    # the other rows are few, and each gets its own sentence
    others = plain.is_null().arg_true()
    if others.is_empty():
        return plain
    used = [name for name in _READ if name in rows.columns]
    some = rows.select(pl.col(used).gather(others))
    some = table.steps_with(some, ("run_id", "host", "error_type", "message", "missing"))
    some = with_causes(table, some, table.unreadable[:_FOLDERS]).select(status_rules.reason())
    return plain.zip_with(plain.is_not_null(), some["reason"].gather(positions(others, rows.height)))


def with_causes(table: StepsTable, rows: pl.DataFrame, unreadable: Sequence[str]) -> pl.DataFrame:
    """Attach the columns that sentences of `status_rules` need, in addition to those of `steps`.

    Args:
        table: The table `steps`.
        rows: Some of its rows.
        unreadable: The unreadable folders to name.
    """
    refused = [cell for cell in table.faults if table.is_refused(cell)]
    of_group = table.by_unit_step(
        "_group",
        rows,
        pl.col("by").is_not_null(),
        lambda cell, part: table.group_steps.sentences(cell, part).to_struct(),
        CLAUSES,
    )
    exclusion = table.by_unit_step(
        "_exclusion",
        rows,
        pl.col("_cell").is_in(list(table.exclusion_texts)),
        lambda cell, part: (
            table.exclusion_texts[cell.index][part["_rec"]].select("reason", "source").to_struct()
        ),
        _EXCLUSION,
    )
    exclusions = [column.alias(f"_exclusion_{column.name}") for column in exclusion.struct.unnest()]
    rows = rows.hstack([*of_group.struct.unnest(), *exclusions])
    return rows.with_columns(
        pl.coalesce("_awaited", _waits(table, rows)).alias("_waits"),
        _unnamed(table, rows),
        pl.col("_cell")
        .cast(pl.UInt32)
        .replace_strict(table.faults, default=None, return_dtype=pl.String)
        .alias("_fault"),
        pl.col("_cell").is_in(refused).alias("_refused"),
        pl.lit(", ".join(unreadable)).alias("_unreadable"),
    )


def _waits(table: StepsTable, rows: pl.DataFrame) -> pl.Series:
    """The steps that would make the absent inputs of rows of `steps`, joined by `, `."""

    def derive(cell: UnitStep, part: pl.DataFrame) -> pl.Series:
        waits: list[tuple[int, pl.Series]] = []
        own = [port for port in cell.required if table.layout.is_own(cell, port)]
        for place in (link.place for port in own for link in port):
            others = [maker for maker in table.makers.get(place, []) if maker != cell.index]
            waits += [(maker, ~table.presence[place] & table.made_by(place, maker)) for maker in others[:1]]
        waited: dict[str, pl.Series] = {}
        for maker, lacks in (*waits, *table.soft_waits.get(cell.index, ())):
            name = table.step_name(table.layout.cells[maker], cell)
            waited[name] = waited.get(name, table.nobody) | lacks
        return _absent(table, part, [(~lacks, pl.lit(name)) for name, lacks in waited.items()], ", ")

    lacks = (pl.col("n_inputs_found") < pl.col("n_inputs")) | (pl.col("_rule") == "waiting")
    return table.by_unit_step("_waits", rows, lacks, derive)


def _unnamed(table: StepsTable, rows: pl.DataFrame) -> pl.Series:
    """Which pattern of rows of `steps` names no path, and why."""

    def derive(cell: UnitStep, part: pl.DataFrame) -> pl.Series:
        records = table.row_values[part["_rec"]]
        texts: list[pl.Expr] = []
        for place in dict.fromkeys(link.place for link in cell.links if link.place in table.pathless):
            template = table.layout.places[place].template
            lacks = pl.lit(table.pathless[place].gather(part["_rec"]))
            text = pl.lit(f"the pattern {template.text} would have an empty part")
            for name in sorted(template.needed & set(table.layout.ids.groups)):
                needs = f"the pattern {template.text} needs {{{name}}}, and this id has no value for it"
                hint = f"; write {{{name}?}} where a path may lack it"
                text = pl.when(pl.col(name) == "").then(pl.lit(needs + hint)).otherwise(text)
            texts.append(pl.when(lacks).then(text))
        return records.with_columns(pl.coalesce([*texts, pl.lit(None, pl.String)]).alias("text"))["text"]

    return table.by_unit_step("_unnamed", rows, pl.col("_rule") == "fault", derive)


def _absent(
    table: StepsTable,
    part: pl.DataFrame,
    texts: Sequence[tuple[pl.Series, pl.Expr]],
    separator: str = "; ",
) -> pl.Series:
    """Join the texts of what is absent; null if nothing is. Each text has its presence, a row per record."""
    records = table.path_values[part["_rec"]]
    absent = [pl.when(~pl.lit(present.gather(part["_rec"]))).then(text) for present, text in texts]
    nothing = pl.lit(None, pl.String)  # not beside one text, which is then taken as it is
    joined = pl.concat_str(absent or [nothing], separator=separator, ignore_nulls=True)
    return records.with_columns(pl.when(joined != "").then(joined).alias("absent"))["absent"]
