"""The step graph: which step makes the inputs of another, as text for Mermaid and as SVG. Pure."""

from __future__ import annotations

from collections import Counter
from html import escape
from typing import TYPE_CHECKING

from sinagot_catalog.errors import row_label
from sinagot_catalog.startup import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sinagot_catalog.catalog import Layout

_WIDE, _HIGH, _GAP, _BESIDE = 170, 44, 14, 60


@dataclass(frozen=True)
class Node:
    """A step of a unit.

    Attributes:
        index: The position of the step in the layout.
        unit: Its task and modality for display.
        step: Its name.
        depth: The number of steps before it.
        line: Its line in a drawing: the units are below each other.
        reads: The patterns of its inputs.
    """

    index: int
    unit: str
    step: str
    depth: int
    line: int
    reads: str

    @property
    def name(self) -> str:
        """The name of the step, with its task and modality."""
        return row_label(self.unit, self.step)


@dataclass(frozen=True)
class Graph:
    """Steps and the dependencies between them.

    Example:
        >>> from sinagot_catalog import example
        >>> ws = example()
        >>> print(graph_of(ws._source.layout()).mermaid())
        flowchart LR
            s0["count"]
            s1["mean"]
            s2["summary"]
            s0 --> s2
            s1 --> s2
    """

    nodes: tuple[Node, ...]
    edges: tuple[tuple[int, int], ...]

    def mermaid(self) -> str:
        """Return the graph as text for Mermaid; a unit with task or modality is a box around its steps."""
        lines = ["flowchart LR"]
        for unit in dict.fromkeys(node.unit for node in self.nodes):
            indent = "    "
            if unit:
                lines.append(f'    subgraph u{len(lines)}["{_plain(unit)}"]')
                indent = "        "
            lines += [
                f'{indent}s{node.index}["{_plain(node.step)}"]' for node in self.nodes if node.unit == unit
            ]
            lines += ["    end"] if unit else []
        return "\n".join([*lines, *(f"    s{first} --> s{second}" for first, second in self.edges)])

    def svg(self, done: Mapping[int, tuple[int, int]]) -> str:
        """Return the graph as SVG; `done` has for each step the number of done rows and of all rows."""
        units = list(dict.fromkeys(node.unit for node in self.nodes))
        title = 18 if any(units) else 0
        corners = {
            node.index: (
                _GAP + node.depth * (_WIDE + _BESIDE),
                _GAP + node.line * (_HIGH + _GAP) + title * (units.index(node.unit) + 1),
            )
            for node in self.nodes
        }
        width = max((x for x, _ in corners.values()), default=_GAP) + _WIDE + _BESIDE
        height = max((y for _, y in corners.values()), default=0) + _HIGH + 2 * _GAP
        label = f"{len(self.nodes)} steps and {len(self.edges)} links between them"
        # on a narrow page it shrinks, to a size that can still be read; a wider one scrolls
        least = f'style="min-width:{round(0.65 * width)}px"'
        size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}" {least}'
        parts = [f'<svg class="graph" {size} role="img" aria-label="{label}">']
        parts += [_edge(corners[first], corners[second]) for first, second in self.edges]
        tops = {node.unit: corners[node.index][1] for node in reversed(self.nodes)}
        parts += [
            f'<text class="unit" x="{_GAP}" y="{top - 6}">{escape(unit)}</text>'
            for unit, top in tops.items()
            if unit
        ]
        for node in self.nodes:
            x, y = corners[node.index]
            n_done, total = done.get(node.index, (0, 0))
            share = _WIDE * n_done / total if total else 0
            parts.append(
                f"<g><title>{escape(node.name)}: {n_done:,} of {total:,} done; "
                f"reads {escape(node.reads or 'nothing')}</title>"
                f'<rect class="node" x="{x}" y="{y}" width="{_WIDE}" height="{_HIGH}" rx="6"/>'
                f'<rect class="made" x="{x}" y="{y + _HIGH - 5}" width="{share:.1f}" height="5" rx="2"/>'
                f'<text x="{x + 10}" y="{y + 19}">{escape(_cut(node.step))}</text>'
                f'<text class="less" x="{x + 10}" y="{y + 34}">{n_done:,} of {total:,}</text></g>'
            )
        return "".join([*parts, "</svg>"])


def graph_of(layout: Layout) -> Graph:
    """Return the graph of all steps that a config and its scripts declare."""
    edges = sorted(
        {
            (maker, cell.index)
            for cell in layout.cells
            for place in cell.places("input")
            for maker in layout.makers.get(place, [])
            if maker != cell.index
        }
    )
    depths = _depths(len(layout.cells), edges)
    units = [row_label(cell.task, cell.modality) for cell in layout.cells]
    lines = _lines(units, depths)
    nodes = (
        Node(
            cell.index,
            units[cell.index],
            cell.step,
            depths[cell.index],
            lines[cell.index],
            ", ".join(layout.places[place].template.text for place in cell.places("input")),
        )
        for cell in layout.cells
    )
    return Graph(tuple(nodes), tuple(edges))


def _lines(units: Sequence[str], depths: Sequence[int]) -> dict[int, int]:
    """Return the line of each step: steps of one depth and unit, and units, are below each other."""
    lines: dict[int, int] = {}
    for unit in dict.fromkeys(units):
        top, used = max(lines.values(), default=-1) + 1, Counter[int]()
        for index in (index for index, name in enumerate(units) if name == unit):
            lines[index] = top + used[depths[index]]
            used[depths[index]] += 1
    return lines


def _depths(count: int, edges: Sequence[tuple[int, int]]) -> list[int]:
    """Return the number of steps before each step; in a cycle the number is limited."""
    depths = [0] * count
    for _ in range(count):
        before = list(depths)
        for first, second in edges:
            depths[second] = min(max(depths[second], depths[first] + 1), count - 1)
        if depths == before:
            break
    return depths


def _edge(first: tuple[int, int], second: tuple[int, int]) -> str:
    x, y = first[0] + _WIDE, first[1] + _HIGH // 2
    to_x, to_y = second[0], second[1] + _HIGH // 2
    bend = max(_BESIDE, abs(to_x - x)) // 2
    return f'<path class="edge" d="M{x} {y}C{x + bend} {y} {to_x - bend} {to_y} {to_x} {to_y}"/>'


def _cut(text: str, most: int = 20) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _plain(text: str) -> str:
    """Escape a text for quotes of Mermaid."""
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;").replace(">", "&gt;")
