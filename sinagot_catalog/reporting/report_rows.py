"""Report rows: the rows of `steps` that a report shows, and their compact form for the page's script."""

from __future__ import annotations

from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

import polars as pl

from sinagot_catalog.catalog import failed, plain_reason, rule_texts
from sinagot_catalog.errors import row_label
from sinagot_catalog.schema import KEYS, STATUS
from sinagot_catalog.status import SHORT_NAMES

if TYPE_CHECKING:
    from sinagot_catalog.catalog import Catalog, UnitStep

_NAMES = [*STATUS.categories, "UNKNOWN"]
CODES = {name: code for code, name in enumerate(_NAMES)}
"""The code of each status in the page."""
WORDS: list[str] = [SHORT_NAMES.get(name, name) for name in _NAMES]
"""The short name of each status, by its code."""

_ID = "\x01"
_ABSENT = "."


class ReportRows:
    """The rows that a report shows.

    Args:
        catalog: The catalog.
        chosen: The keys of the rows, with further columns to group by; None for every row.
    """

    def __init__(self, catalog: Catalog, chosen: pl.DataFrame | None = None) -> None:
        self._catalog = catalog
        self._chosen = chosen

    @cached_property
    def selected(self) -> pl.DataFrame:
        """The rows with their positions in the catalog."""
        steps = self._catalog.whole_steps
        if self._chosen is None:
            return steps
        further = [name for name in self._chosen.columns if name not in steps.columns]
        chosen = self._chosen.select(*KEYS, *further)
        return steps.join(chosen, on=list(KEYS), how="inner", nulls_equal=True, maintain_order="left")

    @property
    def is_whole(self) -> bool:
        """Whether every row of the catalog is among them."""
        return self.selected.height == self._catalog.steps.height

    @cached_property
    def records(self) -> pl.Series:
        """The positions in the catalog of the records and groups that have a row."""
        if self.is_whole:
            return pl.int_range(self._catalog.n_rows, dtype=pl.UInt32, eager=True)
        return self.selected["_rec"].unique().sort()

    @cached_property
    def ids(self) -> pl.Series:
        """The ids of the records and groups that have a row."""
        return self._catalog.row_ids.gather(self.records)

    @property
    def record_ids(self) -> pl.Series:
        """The ids of the records that have a row."""
        return self.ids.filter(self.records < len(self._catalog.ids))

    @property
    def has_records(self) -> bool:
        """Whether the catalog has a record, in a row or not."""
        return len(self._catalog.ids) > 0

    @cached_property
    def cells(self) -> list[UnitStep]:
        """The steps of units that have a row."""
        cells = self._catalog.layout.cells
        if self.is_whole:
            return list(cells)
        return [cells[index] for index in self.selected["_cell"].unique().sort()]

    @property
    def names(self) -> list[str]:
        """The names of the steps, with task and modality."""
        return [row_label(cell.task, cell.modality, cell.step) for cell in self.cells]

    @property
    def done(self) -> dict[int, tuple[int, int]]:
        """The number of done rows and of all rows, by the index of their step in the layout."""
        pairs = zip(self.cells, self.counts, strict=True)
        return {cell.index: (counts[CODES["DONE"]], sum(counts)) for cell, counts in pairs}

    @cached_property
    def steps(self) -> pl.DataFrame:
        """The rows with their status as `_code`; `_rec` and `_cell` count `ids` and `cells`."""
        code = pl.col("status").to_physical().fill_null(CODES["UNKNOWN"]).cast(pl.UInt8).alias("_code")
        rows = self.selected.with_columns(code, pl.col("_rec").alias("_record"))
        if self.is_whole:
            return rows
        return rows.with_columns(pl.col("_rec", "_cell").rank("dense").cast(pl.UInt32) - 1)

    @cached_property
    def failed(self) -> pl.DataFrame:
        """The rows that count as failures."""
        return self.selected.filter(failed())

    @cached_property
    def counts(self) -> list[list[int]]:
        """For each step of a unit the number of rows by status code."""
        found = {(cell, code): n for cell, code, n in self.steps.group_by("_cell", "_code").len().iter_rows()}
        return [[found.get((cell, code), 0) for code in CODES.values()] for cell in range(len(self.cells))]

    @cached_property
    def totals(self) -> list[int]:
        """The number of rows by status code."""
        return [sum(column) for column in zip(*self.counts, strict=True)] if self.counts else [0] * len(CODES)

    @property
    def statuses(self) -> list[tuple[int, str, int]]:
        """The statuses that occur: code, name, number of rows."""
        return [(code, WORDS[code], total) for code, total in enumerate(self.totals) if total]

    @cached_property
    def rules(self) -> list[dict[str, Any]]:
        """The rules that decide the status of at least one row, each with its text and the number of its rows."""
        counts = self.steps.group_by(pl.col("_rule").cast(pl.String).alias("rule")).agg(pl.len().alias("n"))
        rules = rule_texts().join(counts, on="rule", maintain_order="left").to_dicts()
        codes = [CODES[rule["status"] or "UNKNOWN"] for rule in rules]
        return [
            {**rule, "text": rule["text"].removeprefix("otherwise: "), "code": code, "word": WORDS[code]}
            for rule, code in zip(rules, codes, strict=True)
        ]

    # --- for the page's script ---------------------------------------------------------------------------

    def data(self, n_bins: int) -> dict[str, Any]:
        """The rows by columns, by step: one character per status and per rule, each sentence stored once."""
        steps, sentences = self._with_sentences()
        base = steps["ended"].min()
        zero = base.timestamp() if isinstance(base, datetime) else 0.0
        ended = ((pl.col("ended").dt.epoch("ms") - int(zero * 1000)) // 1000).alias("_ended")
        number = dict(rule_texts().select("rule", "number").iter_rows())
        rule = pl.col("_rule").cast(pl.String).replace_strict(number, return_dtype=pl.UInt8)
        steps = steps.with_columns(pl.col("seconds").round(3), ended, rule.alias("_number"))
        every = pl.DataFrame({"_rec": pl.int_range(len(self.ids), dtype=pl.UInt32, eager=True)})
        columns: dict[str, list[Any]] = {name: [] for name in ("status", "rule", "said", "seconds", "ended")}
        for cell in range(len(self.cells)):
            part = steps.filter(pl.col("_cell") == cell)
            if part.height < every.height:
                part = every.join(
                    part.with_columns(pl.col("_rec").cast(pl.UInt32)),
                    on="_rec", how="left", maintain_order="left",
                )  # fmt: skip
            for name, column in (("status", "_code"), ("rule", "_number")):
                columns[name].append(part[column].cast(pl.String).fill_null(_ABSENT).str.join("").item())
            positions = part["_at"].fill_null(0)
            columns["said"].append(positions.to_list() if (positions > 0).any() else None)
            for name, column in (("seconds", "seconds"), ("ended", "_ended")):
                values = part[column]
                columns[name].append(None if values.null_count() == len(values) else values.to_list())
        return {
            "ids": self.ids.to_list(),
            "cells": [[cell.task, cell.modality, cell.step] for cell in self.cells],
            "names": WORDS,
            "rules": {str(rule["number"]): rule["text"] for rule in self.rules},
            "sentences": sentences.to_list(),
            "zero": zero,
            "bins": n_bins,
            **columns,
        }

    def _with_sentences(self) -> tuple[pl.DataFrame, pl.Series]:
        """Return the rows in the order of the page with `_at`, the position of each row's sentence; 0 for none."""
        spot = pl.col("_cell").cast(pl.Int64) * len(self.ids) + pl.col("_rec")
        steps = self.steps.sort(spot)
        detailed = steps.select(plain_reason().is_null().arg_true()).to_series()
        some = steps.select(pl.col("reason", "record_id").gather(detailed))
        # most sentences differ only in the record's id
        text = pl.col("reason").str.split(pl.col("record_id")).list.join(_ID).fill_null("")
        texts = some.select(text.alias("_text"))
        sentences = pl.concat([pl.Series("_text", [""]), texts["_text"]]).unique(maintain_order=True)
        index = sentences.to_frame().with_row_index("_at")
        at = texts.join(index, on="_text", how="left", maintain_order="left")["_at"]
        none = pl.zeros(steps.height, pl.UInt32, eager=True).alias("_at")
        return steps.with_columns(none.scatter(detailed, at)), sentences
