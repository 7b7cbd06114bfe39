"""Two roots: binds each pattern of a layout to the dataset or to the outputs, if outputs have their own root."""

from __future__ import annotations

from dataclasses import replace

from sinagot_catalog.catalog.layout import BoundPattern, Layout, Link, UnitStep, are_nested
from sinagot_catalog.patterns import Template, may_meet


def in_two_roots(layout: Layout) -> Layout:
    """Set the root of each path if outputs have their own root; one pattern may become several bound patterns.

    Outputs lie under `outputs`. An input that no other step makes lies in the dataset. An input that another
    step makes lies under `outputs`, and also in the dataset unless a pattern reads it there as raw data.
    """
    index: dict[BoundPattern, int] = {}
    readings = _Readings(layout)

    def placed(cell: UnitStep, link: Link) -> Link:
        template = layout.places[link.place].template
        place = readings.place(cell, template) if link.role == "input" else BoundPattern(template, "outputs")
        return replace(link, place=index.setdefault(place, len(index)))

    cells = tuple(
        replace(cell, links=tuple(placed(cell, link) for link in cell.links)) for cell in layout.cells
    )
    units = tuple(
        replace(unit, data=tuple(_data_place(layout, readings, place, index) for place in unit.data))
        for unit in layout.units
    )
    return replace(layout, cells=cells, units=units, places=tuple(index))


def _data_place(layout: Layout, readings: _Readings, place: int, index: dict[BoundPattern, int]) -> int:
    """Return the bound pattern of a modality's data: under `outputs` if steps make it, else in the dataset."""
    template = layout.places[place].template
    return index.setdefault(readings.place(None, template), len(index))


class _Readings:
    """Knows which inputs other steps make, and which patterns read raw data."""

    def __init__(self, layout: Layout) -> None:
        self._written = [
            (cell, layout.places[link.place].template)
            for cell in layout.cells
            for link in cell.links
            if link.role in ("output", "control")
        ]
        self._outputs = {
            cell.index: frozenset(layout.places[place].template for place in cell.places("output"))
            for cell in layout.cells
        }
        self._raw = {
            layout.places[place].template
            for cell in layout.cells
            for place in cell.places("input")
            if not self._is_made(cell, layout.places[place].template)
        }

    def place(self, cell: UnitStep | None, template: Template) -> BoundPattern:
        """Return the bound pattern of a step's input, or of a file that no step reads."""
        if self._is_made(cell, template):
            is_raw = any(self._meets(raw, template) for raw in self._raw)
            return BoundPattern(template, "outputs", None if is_raw else "dataset")
        others = [one for maker, one in self._written if self._is_other(maker, cell)]
        if any(may_meet(one, template) for one in others):
            return BoundPattern(template, "outputs", "dataset", is_guess=True)
        return BoundPattern(template, "dataset")

    def _is_made(self, cell: UnitStep | None, template: Template) -> bool:
        """Whether another step declares that it makes an input."""
        return any(are_nested(made, template) for maker, made in self._written if self._is_other(maker, cell))

    def _is_other(self, maker: UnitStep, cell: UnitStep | None) -> bool:
        """Whether a step is a different one; a step that makes the same outputs for another task is the same."""
        return cell is None or self._outputs[maker.index] != self._outputs[cell.index]

    def _meets(self, one: Template, other: Template) -> bool:
        return are_nested(one, other) or may_meet(one, other)
