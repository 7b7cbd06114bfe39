"""Refusals: steps whose paths put data at risk are not run, and one sentence says what to write instead. Pure.

Patterns are compared with the links of their literal folders resolved. A pair of patterns that cannot meet in a
path is settled from its text. Where they may meet, the pair is kept as a `Doubt`, and the record ids of a look
decide, by one column operation.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

from sinagot_catalog._patterns._columns import match_columns, paths_of
from sinagot_catalog._patterns._template import Template
from sinagot_catalog.errors import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import polars as pl

    from sinagot_catalog._layout import Cell, Layout, Link, Place
    from sinagot_catalog._patterns._template import IdPattern

__all__ = ["Doubt", "list_fault", "located", "refused", "settled"]

Segment = tuple[tuple[str, str], ...]
"""The tokens of one part of a path."""


@dataclass(frozen=True)
class Doubt:
    """An output whose filled path may be, or hold, a path of another pattern.

    Attributes:
        output: The pattern of the output, links resolved.
        other: The other pattern, or of that the folder at the depth of the output, links resolved.
        shown: The pattern of the output as the user wrote it.
        is_raw: Whether any file of the other pattern counts, not only those of the records of the look.
        cells: The steps that are refused.
        sentence: Why; `{}` is where an example stands.
    """

    output: Template
    other: Template
    shown: Template
    is_raw: bool
    cells: tuple[int, ...]
    sentence: tuple[str, str]


class _Output(NamedTuple):
    """A path that a step writes: an output or a control file."""

    cell: Cell
    place: int
    path: Template


def list_fault(value: object, *, is_output: bool) -> str | None:
    """Say why a list is not the parts of one path, but likely several paths.

    Args:
        value: A pattern as the user wrote it.
        is_output: Whether it is an output or a control file.

    Example:
        >>> list_fault(["a/{id}.csv", "a/{id}.txt"], is_output=False)[:40]
        "['a/{id}.csv', 'a/{id}.txt'] is read as "
        >>> list_fault(["raw", "{id}.csv"], is_output=True)
    """
    if not isinstance(value, (list, tuple)):
        return None
    parts = [str(part).strip("/") for part in value]
    are_paths = "/" in parts[0] and any("/" in part for part in parts[1:]) if parts else False
    names = [PurePosixPath(part) for part in parts]
    are_variants = (
        is_output
        and len(names) == 2  # noqa: PLR2004 - two names of one stem
        and all(name.suffix for name in names)
        and names[0].with_suffix("") == names[1].with_suffix("")
    )
    if not (are_paths or are_variants):
        return None
    labelled = ", ".join(f'"{label}": "{part}"' for label, part in zip("abcdefgh", parts, strict=False))
    joined = "/".join(parts)
    return (
        f"{list(value)} is read as the parts of one path, '{joined}': "
        f"for several paths write a dict of them by label ({{{labelled}}}), for one path write it as one text"
    )


def refused(layout: Layout, locate: Callable[[Place], Template]) -> Layout:
    """Mark the cells that are refused whatever the records are, and note the pairs that records decide.

    Args:
        layout: The layout, as config and scripts declare it.
        locate: Gives the pattern of the full paths of a place, with the links of its literal folders resolved.
    """
    judge = _Judge(layout, locate)
    found = judge.settle()
    cells = tuple(
        replace(cell, error=found[cell.index], is_refused=True) if cell.index in found else cell
        for cell in layout.cells
    )
    doubts = tuple(doubt for doubt in judge.doubts if not found.keys() >= set(doubt.cells))
    return replace(layout, cells=cells, doubts=doubts)


def settled(doubts: Sequence[Doubt], ids: IdPattern, records: pl.DataFrame) -> dict[int, str]:
    """Decide the pairs of patterns that may meet: the refused cells, each with its sentence.

    Args:
        doubts: The pairs.
        ids: The id pattern.
        records: `record_id` and the named groups of the id pattern, a row per record.
    """
    found: dict[int, str] = {}
    for doubt in doubts:
        row = _meeting(doubt, ids, records)
        if row is not None:
            values = records.row(row, named=True)
            path = doubt.shown.format({**values, "id": values["record_id"]})
            text = f"{doubt.sentence[0]} ({path!r} for record {values['record_id']}){doubt.sentence[1]}"
            found |= {cell: text for cell in doubt.cells if cell not in found}
    return found


def _meeting(doubt: Doubt, ids: IdPattern, records: pl.DataFrame) -> int | None:
    """The first record whose output meets the other pattern."""
    paths = records.select(paths_of(doubt.output).alias("path"))["path"]
    if doubt.is_raw and "id" in doubt.other.fields:
        rows = match_columns(paths, [doubt.other], ids)["row"]
    else:
        others = records.select(paths_of(doubt.other).alias("path"))["path"].unique()
        rows = paths.is_in(others.implode()).fill_null(value=False).arg_true()
    return None if rows.is_empty() else int(rows.min())  # type: ignore[arg-type]


class _Judge:
    """Compares the paths of all steps of a layout."""

    def __init__(self, layout: Layout, locate: Callable[[Place], Template]) -> None:
        self.layout = layout
        self.doubts: list[Doubt] = []
        self._found: dict[int, str] = {}
        self._usable = [cell for cell in layout.cells if cell.error is None]
        self._located = [locate(place) for place in layout.places]
        self._raw_located = [locate(replace(place, root="dataset")) for place in layout.places]
        self._outputs = [
            _Output(cell, place, self._located[place])
            for cell in self._usable
            for place in (*cell.places("output"), *cell.places("control"))
        ]
        self._every = frozenset({"id", *layout.ids.groups})
        self._siblings: dict[tuple[str | None, str], list[Cell]] = defaultdict(list)
        for cell in self._usable:
            self._siblings[cell.modality, cell.step].append(cell)

    def settle(self) -> dict[int, str]:
        """The cells that are refused, each with its sentence; the first reason counts."""
        for cell in self._usable:
            self._check_by(cell)
        for cell in self._usable:
            self._check_own_inputs(cell)
        self._check_outputs()
        self._check_raw()
        for cell in self._usable:
            if cell.by is None:
                self._check_fields(cell)
        return self._found

    def _refuse(self, sentence: str, *cells: Cell) -> None:
        for cell in cells:
            self._found.setdefault(cell.index, sentence)

    def _text(self, place: int) -> str:
        template = self.layout.places[place].template
        return repr(template.text + "/" * template.is_directory)

    def _elsewhere(self, cell: Cell, place: int) -> str:
        """A pattern to write instead of an output."""
        template = self.layout.places[place].template
        return repr(f"{cell.step}/{template.text}" + "/" * template.is_directory)

    # --- groups --------------------------------------------------------------------------------------------------

    def _check_by(self, cell: Cell) -> None:
        """Refuse a step that runs per group: the word is reserved, and it does nothing yet."""
        if cell.by is None:
            return
        groups = self.layout.ids.groups
        wrong = next((name for name in cell.by if name not in groups), None)
        if wrong is None:
            text = f"step {_name(cell)} says by = {list(cell.by)}: steps per group are not supported yet"
        else:
            near = did_you_mean(wrong, groups, most=1) or f"; its fields are: {', '.join(groups) or 'none'}"
            text = f"step {_name(cell)} says by = {wrong!r}, which is no field of id_pattern{near}"
        self._refuse(f"{text}. Remove by.", cell)

    # --- raw inputs ----------------------------------------------------------------------------------------------

    def _own_inputs(self, cell: Cell) -> list[int]:
        """The inputs that no other step makes; the same step in another task is no other step."""
        own = {sibling.index for sibling in self._siblings[cell.modality, cell.step]}
        return [place for place in cell.places("input") if own.issuperset(self.layout.makers.get(place, []))]

    def _check_own_inputs(self, cell: Cell) -> None:
        """Refuse an output that is, or holds, an input of the step that no other step makes."""
        outputs = [output for output in self._outputs if output.cell is cell]
        for place in self._own_inputs(cell):
            for output in outputs:
                if not _holds(output.path, self._raw_located[place]):
                    continue
                is_same = output.path.text == self._raw_located[place].text
                what = "is" if is_same else "holds"
                linked = self._is_linked(output.place, place)
                hint = "; a script that updates its own result reads it as self.path.previous" * is_same
                self._refuse(
                    f"the output {self._text(output.place)} of step {_name(cell)} {what} its input "
                    f"{self._text(place)}{linked}, which no other step makes: a run would replace raw data. "
                    f"Write to a path of its own, such as {self._elsewhere(cell, output.place)}{hint}.",
                    cell,
                )

    def _is_linked(self, output: int, other: int) -> str:
        """Name the link through which two patterns meet that differ in their text."""
        ours, theirs = self.layout.places[output].template, self.layout.places[other].template
        is_plain = _holds(ours, theirs) and self.layout.places[output].root == self.layout.places[other].root
        return "" if is_plain else " (a link leads there)"

    def _raw(self) -> Iterator[tuple[int, str]]:
        """The raw inputs, each with who reads it."""
        readers: dict[int, str] = {}
        for cell in self.layout.cells:
            for place in self._own_inputs(cell) if cell.error is None else cell.places("input"):
                readers.setdefault(place, f"step {_name(cell)}")
        for unit in self.layout.units:
            for place in unit.data:
                if place not in self.layout.makers:
                    readers.setdefault(place, f"modality {unit.modality}")
        yield from readers.items()

    def _check_raw(self) -> None:
        """Refuse outputs that lie where raw inputs lie, or may match their patterns."""
        for place, reader in self._raw():
            raw = self._raw_located[place]
            for output in self._outputs:
                if output.cell.index in self._found:
                    continue
                begin = f"the output {self._text(output.place)} of step {_name(output.cell)}"
                write = f"Write to a folder of its own, such as {self._elsewhere(output.cell, output.place)}"
                read = f"{self._text(place)}, which {reader} reads"
                if _holds(output.path, raw):
                    if self._is_linked(output.place, place):
                        self._refuse(
                            f"{begin} lies, through a link, where raw data lie: {read}. {write}.", output.cell
                        )
                    continue
                other = _may_hold(output.path, raw, spans=self.layout.ids.spans)
                if other is not None and not _holds(raw, output.path):
                    what = "matches" if other == raw else "may hold raw data of"
                    tail = (
                        f" {what} {read}: a run would replace raw data, or take its results for recordings."
                    )
                    shown = self.layout.places[output.place].template
                    sentence = (begin, f"{tail} {write}, or narrow id_pattern.")
                    self.doubts.append(
                        Doubt(
                            output.path,
                            other,
                            shown,
                            is_raw=True,
                            cells=(output.cell.index,),
                            sentence=sentence,
                        )
                    )

    # --- outputs among each other --------------------------------------------------------------------------------

    def _check_outputs(self) -> None:
        """Refuse the same output of two steps, and outputs that lie one in the other."""
        owners: dict[int, list[Cell]] = defaultdict(list)
        for output in self._outputs:
            owners[output.place].append(output.cell)
        for place, cells in owners.items():
            self._check_owners(place, cells)
        for first, second in combinations(owners, 2):
            if _are_near(self._located[first], self._located[second]):
                self._check_pair(first, second, owners)
                self._check_pair(second, first, owners)

    def _check_owners(self, place: int, cells: list[Cell]) -> None:
        if len({cell.index for cell in cells}) < len(cells):
            twice = next(cell for cell in cells if cells.count(cell) > 1)
            self._refuse(
                f"step {_name(twice)} writes {self._text(place)} twice, under two labels or as output and as "
                "control file. Write a path of its own for each.",
                twice,
            )
        steps = {(cell.modality, cell.step): cell for cell in cells}
        if len(steps) > 1:
            first, second = list(steps.values())[:2]
            self._refuse(
                f"the steps {_name(first)} and {_name(second)} both write {self._text(place)}: the last to run "
                f"would replace what the other made. Write a path of its own for each, such as "
                f"{self._elsewhere(second, place)}; a step that reads whichever is there names both (any_of).",
                *cells,
            )

    def _check_pair(self, outer: int, inner: int, owners: Mapping[int, list[Cell]]) -> None:
        """Refuse two outputs where the first holds the second; note where the records decide that."""
        first, second = self._located[outer], self._located[inner]
        cells = {cell.index: cell for cell in (*owners[outer], *owners[inner])}
        maker, other = owners[outer][0], owners[inner][0]
        mine = f"the output {self._text(outer)} of step {_name(maker)}"
        role = "output" if inner in other.places("output") else "control file"
        whose = "the same step" if maker is other else f"step {_name(other)}"
        theirs = f"the {role} {self._text(inner)} of {whose}"
        write = f"Write to paths that do not overlap, such as {self._elsewhere(other, inner)}."
        if _holds(first, second):
            what = "is, through a link," if first.text == second.text else "holds"
            self._refuse(f"{mine} {what} {theirs}: one would replace the other. {write}", *cells.values())
            return
        met = _may_hold(first, second, spans=self.layout.ids.spans)
        if met is not None and not (met == second and outer > inner):
            what = "is also" if met == second else "holds"
            shown = self.layout.places[outer].template
            sentence = (mine, f" {what} {theirs}: one would replace the other. {write}")
            self.doubts.append(Doubt(first, met, shown, is_raw=False, cells=tuple(cells), sentence=sentence))

    # --- fields --------------------------------------------------------------------------------------------------

    def _check_fields(self, cell: Cell) -> None:
        """Refuse outputs that several rows with different inputs would share, and outputs that differ in fields."""
        outputs = [
            (link.place, self._fields(cell, link.role, n)) for n, link in _numbered(cell, "output", "control")
        ]
        inputs = [(link.place, self._fields(cell, link.role, n)) for n, link in _numbered(cell, "input")]
        for place, fields in outputs:
            for read, needed in inputs:
                if lacks := needed - fields:
                    named = self.layout.places[read].template.fields & lacks or lacks
                    name = "id" if "id" in named else min(named)
                    self._refuse(
                        f"the output {self._text(place)} of step {_name(cell)} lacks {{{name}}}, which its input "
                        f"{self._text(read)} has: rows with different inputs would share one output. Write "
                        f"{{{name}}} into the output. (One row per group, with by, is not supported yet.)",
                        cell,
                    )
                    return
        kinds = {fields: place for place, fields in outputs}
        if len(kinds) > 1:
            first, second = list(kinds.values())[:2]
            self._refuse(
                f"the outputs {self._text(first)} and {self._text(second)} of step {_name(cell)} differ in their "
                "fields: some are made once per record, some once for several. Write two steps.",
                cell,
            )

    def _fields(self, cell: Cell, role: str, number: int) -> frozenset[str]:
        """The fields of a path of a step; `{id}` counts as all, `{task}` where the step is in several tasks."""
        place = cell.places(role)[number]
        fields = self.layout.places[place].template.fields
        if "id" in fields or (len(self._every) > 1 and fields >= self._every - {"id"}):
            fields = self._every
        tasks = [one for one in self._siblings[cell.modality, cell.step] if len(one.places(role)) > number]
        differs = any(one.places(role)[number] != place for one in tasks if one.task != cell.task)
        return fields | {"task"} if differs else fields


def _numbered(cell: Cell, *roles: str) -> Iterator[tuple[int, Link]]:
    """The links of some roles, each with its position in its role."""
    for role in roles:
        yield from enumerate(cell.linked(role))


def _name(cell: Cell) -> str:
    return "-".join(part for part in (cell.task, cell.modality, cell.step) if part)


# --- two patterns ------------------------------------------------------------------------------------------------


def _holds(outer: Template, inner: Template) -> bool:
    """Whether a path of one pattern is, or is a folder around, that of the other for the same record."""
    return inner.text == outer.text or inner.text.startswith(outer.text + "/")


def _head(template: Template) -> str:
    kind, text = template.tokens[0]
    return text if kind == "text" else ""


def _are_near(first: Template, second: Template) -> bool:
    """Whether the literal beginnings of two patterns agree."""
    one, other = _head(first), _head(second)
    return one.startswith(other) or other.startswith(one)


def _may_hold(outer: Template, inner: Template, *, spans: bool) -> Template | None:
    """What of a pattern a path of another one may be: the pattern itself, one of its folders, or nothing.

    Args:
        outer: The pattern whose path may be, or hold, one of the other.
        inner: The other pattern.
        spans: Whether ids may hold a `/`.
    """
    if not _are_near(outer, inner):
        return None
    if spans:
        return inner
    ours, theirs = _segments(outer), _segments(inner)
    if len(ours) > len(theirs) or not all(map(_can_be_one, ours, theirs)):
        return None
    return inner if len(ours) == len(theirs) else list(inner.folders())[len(ours) - 1]


def _segments(template: Template) -> list[Segment]:
    """The parts of a pattern between its slashes."""
    segments: list[list[tuple[str, str]]] = [[]]
    for kind, value in template.tokens:
        if kind == "field":
            segments[-1].append((kind, value))
            continue
        first, *others = value.split("/")
        segments[-1] += [("text", first)] if first else []
        segments += [[("text", part)] if part else [] for part in others]
    return [tuple(segment) for segment in segments]


def _can_be_one(first: Segment, second: Segment) -> bool:
    """Whether two parts of patterns may be the same name, whatever their fields stand for."""
    if _is_literal(first) and _is_literal(second):
        return first == second
    if _is_literal(first):
        first, second = second, first
    begin, end = _edge(first, 0), _edge(first, -1)
    if _is_literal(second):
        text = "".join(value for _, value in second)
        return text.startswith(begin) and text.endswith(end) and len(text) > len(begin) + len(end)
    return _agree(begin, _edge(second, 0), str.startswith) and _agree(end, _edge(second, -1), str.endswith)


def _is_literal(segment: Segment) -> bool:
    return all(kind == "text" for kind, _ in segment)


def _edge(segment: Segment, position: int) -> str:
    kind, value = segment[position]
    return value if kind == "text" else ""


def _agree(one: str, other: str, begins: Callable[[str, str], bool]) -> bool:
    return begins(one, other) or begins(other, one)


def located(template: Template, folder: str) -> Template:
    """A pattern with its literal folder replaced, such as by the folder that a link leads to.

    Args:
        template: The pattern.
        folder: What takes the place of `template.prefix`.

    Example:
        >>> from sinagot_catalog._patterns._template import parse_template
        >>> located(parse_template("view/{id}.csv", fields={"id"}), "/data/raw").text
        '/data/raw/{id}.csv'
    """
    tokens = template.tokens
    rest = tokens[0][1][len(template.prefix) :] if tokens[0][0] == "text" else ""
    others = tokens[1:] if tokens[0][0] == "text" else tokens
    return Template((("text", f"{folder.rstrip('/')}/{rest}"), *others), template.is_directory)
