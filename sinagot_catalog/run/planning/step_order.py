"""Step order: which unit steps run record by record, which wait for a phase, and which belong to no part."""

from __future__ import annotations

from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING

import polars as pl

from sinagot_catalog.errors import SelectionError
from sinagot_catalog.run.parts import Part, steps_of_no_part

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from sinagot_catalog.catalog import Catalog, Layout


def order_fault(catalog: Catalog) -> str | None:
    """Return why no step can run, as steps wait for each other; None if they can be ordered."""
    try:
        StepOrder(catalog.layout, catalog.makers, catalog.faults)
    except SelectionError as error:
        return error.message
    return None


class StepOrder:
    """The order of the unit steps: which run in a chain per record, and which must wait for a whole phase.

    A step waits for a phase if it can read outputs of other records; else its rows follow record by record.
    Steps of a unit that all run over records, or over the same groups, keep the order of the config.

    Attributes:
        cells: The unit steps in order.
        before: For each unit step those that come before it.
        shared: Pairs of unit steps, the second of which reads outputs of other records than its own.
        barred: Those of them where it is not known of which records, as they share files.
    """

    def __init__(
        self, layout: Layout, makers: Mapping[int, Sequence[int]], faults: Collection[int] = ()
    ) -> None:
        self.layout = layout
        self.makers = makers
        self.before = _config_order(layout)
        self.shared: set[tuple[int, int]] = set()
        self.barred: set[tuple[int, int]] = set()
        for cell in layout.cells:
            if cell.index in faults:
                continue  # a step whose paths are refused never runs
            for place in cell.places("input"):
                for maker in makers.get(place, []):
                    if maker != cell.index and maker not in faults:
                        self.before[cell.index].add(maker)
                        outputs = layout.cells[maker].places("output")
                        is_near = maker not in layout.makers.get(place, [])
                        of_groups = layout.cells[maker].by is not None
                        are_groups = of_groups or cell.by is not None
                        if (
                            is_near
                            or are_groups
                            or any(number not in layout.telling for number in (place, *outputs))
                        ):
                            self.shared.add((maker, cell.index))
                        are_told = of_groups or all(number in layout.telling for number in outputs)
                        if is_near or not (are_groups and are_told):
                            self.barred.add((maker, cell.index))
        self.barred &= self.shared
        self.cells = self._sorted()

    def _sorted(self) -> list[int]:
        """The unit steps in topological order; otherwise in the order of the config."""
        sorter = TopologicalSorter(self.before)
        try:
            sorter.prepare()
        except CycleError as error:
            names = " -> ".join(self.layout.cells[cell].full_name for cell in error.args[1])
            raise SelectionError(
                f"steps wait for each other: {names}",
                "Reorder the scripts in workspace.toml, or mend their paths.",
            ) from error
        out: list[int] = []
        ready: list[int] = []
        while sorter.is_active():
            ready = sorted([*ready, *sorter.get_ready()])
            out.append(ready.pop(0))
            sorter.done(out[-1])
        return out

    def steps_in(self, part: Part | None) -> list[int]:
        """The unit steps that have rows in a part, in order; without a part, all."""
        if part is None:
            return self.cells
        last = steps_of_no_part(self.layout, self.makers, self.cells, self.shared)
        return [cell for cell in self.cells if (cell in last) == part.is_last]

    @cached_property
    def phases(self) -> dict[int, int]:
        """The phase of each unit step."""
        return self._levels(self.shared)

    @cached_property
    def stages(self) -> dict[int, int]:
        """The stage of each unit step: where groups wait for their members alone, several phases are one stage."""
        return self._levels(self.barred)

    def _levels(self, steps_up: set[tuple[int, int]]) -> dict[int, int]:
        levels: dict[int, int] = {}
        for cell in self.cells:
            levels[cell] = max(
                (levels[maker] + ((maker, cell) in steps_up) for maker in self.before[cell]), default=0
            )
        return levels

    @property
    def table(self) -> pl.DataFrame:
        """Per unit step: its position, its phase, and its component; rows of a component and record run in turn."""
        component = {cell: cell for cell in self.cells}
        for cell in self.cells:
            for maker in self.before[cell]:
                if (maker, cell) not in self.shared:
                    old, new = component[maker], component[cell]
                    component = {key: new if value == old else value for key, value in component.items()}
        rows = [(cell, spot, self.phases[cell], component[cell]) for spot, cell in enumerate(self.cells)]
        names = ("_cell", "_position", "_phase", "_component")
        return pl.DataFrame(rows, schema=dict.fromkeys(names, pl.UInt16), orient="row")


def _config_order(layout: Layout) -> dict[int, set[int]]:
    """For each unit step the one before it in the config that runs over the same records or groups."""
    before: dict[int, set[int]] = {cell.index: set() for cell in layout.cells}
    for unit in layout.units:
        last: dict[tuple[str, ...] | None, int] = {}
        for cell in unit.cells:
            by = layout.cells[cell].by
            if by in last:
                before[cell].add(last[by])
            last[by] = cell
    return before
