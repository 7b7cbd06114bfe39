"""The step graph: which step makes the inputs of another, as text for Mermaid and as SVG. Pure."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from sinagot_catalog.errors import row_label
from sinagot_catalog.frozen import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sinagot_catalog.catalog import Layout

_WIDE, _HIGH, _GAP, _BESIDE = 170, 44, 14, 60


@dataclass(frozen=True)
class Node:
    """A step of a unit; `depth` is the number of steps before it."""

    index: int
    task: str | None
    modality: str | None
    step: str
    depth: int
    reads: tuple[str, ...]

    @property
    def unit(self) -> str:
        """Its task and modality for display."""
        return row_label(self.task, self.modality)


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
        spots, height = self._places()
        width = (max((node.depth for node in self.nodes), default=0) + 1) * (_WIDE + _BESIDE) + _GAP
        label = f"{len(self.nodes)} steps and {len(self.edges)} links between them"
        # on a narrow page it shrinks, to a size that can still be read; a wider one scrolls
        least = f'style="min-width:{round(0.65 * width)}px"'
        size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}" {least}'
        parts = [f'<svg class="graph" {size} role="img" aria-label="{label}">']
        parts += [_edge(spots[first], spots[second]) for first, second in self.edges]
        seen = set[str]()
        for node in self.nodes:
            x, y = spots[node.index]
            if node.unit and node.unit not in seen:
                seen.add(node.unit)
                top = min(spots[one.index][1] for one in self.nodes if one.unit == node.unit)
                parts.append(f'<text class="unit" x="{_GAP}" y="{top - 6}">{escape(node.unit)}</text>')
            made, total = done.get(node.index, (0, 0))
            share = _WIDE * made / total if total else 0
            name = escape(f"{node.unit} {node.step}".strip())
            parts.append(
                f"<g><title>{name}: {made:,} of {total:,} done; "
                f"reads {escape(', '.join(node.reads) or 'nothing')}</title>"
                f'<rect class="node" x="{x}" y="{y}" width="{_WIDE}" height="{_HIGH}" rx="6"/>'
                f'<rect class="made" x="{x}" y="{y + _HIGH - 5}" width="{share:.1f}" height="5" rx="2"/>'
                f'<text x="{x + 10}" y="{y + 19}">{escape(_cut(node.step))}</text>'
                f'<text class="less" x="{x + 10}" y="{y + 34}">{made:,} of {total:,}</text></g>'
            )
        return "".join([*parts, "</svg>"])

    def _places(self) -> tuple[dict[int, tuple[int, int]], int]:
        """Return the position of each node: depth from left to right, units below each other."""
        spots: dict[int, tuple[int, int]] = {}
        top = _GAP
        for unit in dict.fromkeys(node.unit for node in self.nodes):
            top += 18 if unit else 0
            used: dict[int, int] = {}
            for node in (one for one in self.nodes if one.unit == unit):
                row = used.get(node.depth, 0)
                used[node.depth] = row + 1
                spots[node.index] = (_GAP + node.depth * (_WIDE + _BESIDE), top + row * (_HIGH + _GAP))
            top += max(used.values()) * (_HIGH + _GAP)
        return spots, top + _GAP


def graph_of(layout: Layout) -> Graph:
    """Return the graph of all steps that a config and its scripts declare."""
    edges: list[tuple[int, int]] = []
    for cell in layout.cells:
        for place in cell.places("input"):
            edges += [(made, cell.index) for made in layout.makers.get(place, []) if made != cell.index]
    edges = sorted(set(edges))
    depths = _depths(len(layout.cells), edges)
    nodes = tuple(
        Node(
            cell.index,
            cell.task,
            cell.modality,
            cell.step,
            depths[cell.index],
            tuple(layout.places[place].template.text for place in cell.places("input")),
        )
        for cell in layout.cells
    )
    return Graph(nodes, tuple(edges))


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
