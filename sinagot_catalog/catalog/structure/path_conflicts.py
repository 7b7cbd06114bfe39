"""Path conflicts: finds steps whose paths put raw data or results at risk, and says what to write instead. Pure.

The library does not run a refused step. While a row runs, `journal.output_ownership` protects files. Patterns are
compared after the links of their literal folders are resolved. The texts of two patterns often show that their
paths never meet. If they may meet, the pair becomes a `Doubt`: the record ids of a listing decide it, with one
column operation.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, TypeAlias

from sinagot_catalog.errors import did_you_mean
from sinagot_catalog.patterns import Meeting, Template, holds, meetings
from sinagot_catalog.startup import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import polars as pl

    from sinagot_catalog.catalog.structure.layout import BoundPattern, Layout, Link, UnitStep
    from sinagot_catalog.catalog.structure.own_paths import OwnPath
    from sinagot_catalog.patterns import IdPattern

Step: TypeAlias = tuple[str | None, str]
"""Modality and name of a step."""


@dataclass(frozen=True)
class Doubt:
    """An output whose filled path may be a path of another pattern, or contain it.

    Attributes:
        output: The pattern of the output, links resolved.
        other: The other pattern, or its folder at the depth of the output, links resolved.
        shown: The pattern of the output as the user wrote it.
        is_raw: Whether any file of the other pattern counts, not only files of the listed records.
        cells: The unit steps that are refused if the paths meet.
        sentence: The reason; `{}` stands for an example.
    """

    output: Template
    other: Template
    shown: Template
    is_raw: bool
    cells: tuple[int, ...]
    sentence: tuple[str, str]


def refused(layout: Layout, locate: Callable[[BoundPattern], Template], own: Sequence[OwnPath]) -> Layout:
    """Mark the unit steps that are refused for any records, and collect the pairs that records decide.

    Args:
        layout: The layout, as config and scripts declare it.
        locate: Returns the full path pattern of a bound pattern, with the links of its literal folders resolved.
        own: The files and folders of the workspace itself, which no output may replace.
    """
    judge = _Judge(layout, locate, own)
    errors = judge.settle()
    # a step whose fields do not exist has a row per record
    cells = [cell if cell.by in (None, *layout.bys) else replace(cell, by=None) for cell in layout.cells]
    for index, error in errors.items():
        cells[index] = replace(cells[index], error=error, is_refused=True)
    doubts = tuple(doubt for doubt in judge.doubts if not errors.keys() >= set(doubt.cells))
    return replace(layout, cells=tuple(cells), doubts=doubts)


def settled(doubts: Sequence[Doubt], ids: IdPattern, records: pl.DataFrame) -> dict[int, str]:
    """Decide the pairs of patterns that may meet: return the refused unit steps, each with its sentence.

    Args:
        doubts: The pairs.
        ids: The id pattern.
        records: `record_id` and the named groups of the id pattern, a row per record.
    """
    errors: dict[int, str] = {}
    for doubt in doubts:
        row = _meeting(doubt, ids, records)
        if row is not None:
            values = records.row(row, named=True)
            shown = doubt.output if doubt.shown.is_wild else doubt.shown
            path = shown.format({**values, "id": values["record_id"]})
            text = f"{doubt.sentence[0]} ({path!r} for record {values['record_id']}){doubt.sentence[1]}"
            errors |= {cell: text for cell in doubt.cells if cell not in errors}
    return errors


def _meeting(doubt: Doubt, ids: IdPattern, records: pl.DataFrame) -> int | None:
    """Return the first record whose output meets the other pattern."""
    # Polars is loaded here: completion reads a layout without it.
    from sinagot_catalog.patterns import match_columns, paths_of, wild_paths

    paths = records.select(paths_of(doubt.output).alias("path"))["path"]
    if doubt.is_raw and ids.is_told_by(doubt.other):
        rows = match_columns(paths, [doubt.other], ids)["row"]
    elif doubt.other.is_wild:
        rows = wild_paths(paths, records, doubt.other, ids)["row"]
    else:
        others = records.select(paths_of(doubt.other).alias("path"))["path"].unique()
        rows = paths.is_in(others.implode()).fill_null(value=False).arg_true()
    return None if rows.is_empty() else int(rows.min())  # type: ignore[arg-type]


class _Judge:
    """Compares the paths of all steps of a layout."""

    def __init__(
        self, layout: Layout, locate: Callable[[BoundPattern], Template], own: Sequence[OwnPath]
    ) -> None:
        self.layout = layout
        self._own = own
        self.doubts: list[Doubt] = []
        self._found: dict[int, str] = {}
        self._usable = [cell for cell in layout.cells if cell.error is None]
        self._located = [locate(place) for place in layout.places]
        self._raw_located = [locate(replace(place, root="dataset")) for place in layout.places]
        self._owners: dict[int, list[UnitStep]] = defaultdict(list)
        """For each written bound pattern the unit steps that write it, once per label."""
        for cell in self._usable:
            for place in cell.written:
                self._owners[place].append(cell)
        self._every = frozenset({"id", *layout.ids.groups})
        self._siblings: dict[Step, list[UnitStep]] = defaultdict(list)
        for cell in self._usable:
            self._siblings[_step(cell)].append(cell)

    def settle(self) -> dict[int, str]:
        """Return the refused unit steps, each with its sentence; the first reason counts."""
        for cell in self._usable:
            self._check_by(cell)
        self._check_own_paths()
        for cell in self._usable:
            self._check_own_inputs(cell)
        self._check_outputs()
        self._check_raw()
        for cell in self._usable:
            if cell.by is None:
                self._check_fields(cell)
        return self._found

    def _refuse(self, sentence: str, *cells: UnitStep) -> None:
        for cell in cells:
            self._found.setdefault(cell.index, sentence)

    def _text(self, place: int) -> str:
        template = self.layout.places[place].template
        return repr(template.text + "/" * template.is_directory)

    def _elsewhere(self, cell: UnitStep, place: int) -> str:
        """Return a pattern that the user can write instead of an output, with all fields of the inputs."""
        template = self.layout.places[place].template
        text = template.text
        needed = {
            field for place in cell.places("input") for field in self.layout.places[place].template.fields
        }
        if cell.by is None and not (self.layout.ids.is_told_by(template) or needed <= template.fields):
            text = f"{{id}}{PurePosixPath(text).suffix}"
        return repr(f"{cell.step}/{text}" + "/" * template.is_directory)

    def _check_own_paths(self) -> None:
        """Refuse outputs that are or hold a path of the workspace itself, or lie in such a folder."""
        kept = {number: Template((("text", own.path),)) for number, own in enumerate(self._own)}
        for meeting in meetings(self._located_outputs, kept, self.layout.ids):
            own, cells = self._own[meeting.inner], self._owners[meeting.outer]
            begin = self._begin(cells[0], meeting.outer)
            end = f" {'is' if meeting.is_whole else 'holds'} {own.what}. {own.advice}"
            if self._located[meeting.outer].fields:
                self._doubt(meeting.outer, meeting.path, cells, (begin, end), is_raw=False)
            else:
                self._refuse(begin + end, *cells)
        for place, cells in self._owners.items():
            prefix = self._located[place].prefix
            for folder in self._own:
                if folder.is_folder and prefix.startswith(f"{folder.path}/"):
                    self._refuse(
                        f"{self._begin(cells[0], place)} lies in {folder.what}. {folder.advice}", *cells
                    )

    def _begin(self, cell: UnitStep, output: int) -> str:
        return f"the output {self._text(output)} of step {_name(cell)}"

    # --- groups --------------------------------------------------------------------------------------------------

    def _check_by(self, cell: UnitStep) -> None:
        """Refuse a group step whose fields do not exist, and one whose outputs have other fields."""
        if cell.by is None:
            return
        groups = self.layout.ids.groups
        wrong = next((name for name in cell.by if name not in groups), None)
        if wrong is not None:
            near = did_you_mean(wrong, groups, most=1) or f"; its fields are: {', '.join(groups) or 'none'}."
            text = f"step {_name(cell)} says by = {wrong!r}, which is not a field of id_pattern{near}"
            self._refuse(f"{text} Write a field of id_pattern, or by = [] for all records together.", cell)
            return
        for place in cell.written:
            fields = self.layout.places[place].template.fields
            begin = f"step {_name(cell)} says by = {list(cell.by)}, and its output {self._text(place)}"
            if others := sorted(fields - set(cell.by)):
                self._refuse(
                    f"{begin} has {{{others[0]}}}: a group has no value for it. Leave it out, or write by = "
                    f"{[*cell.by, others[0]] if others[0] in groups else list(groups)}.",
                    cell,
                )
            elif lacks := sorted(set(cell.by) - fields):
                self._refuse(
                    f"{begin} lacks {{{lacks[0]}}}: several groups would share one output. Write {{{lacks[0]}}} "
                    "into it.",
                    cell,
                )

    # --- raw inputs ----------------------------------------------------------------------------------------------

    def _own_inputs(self, cell: UnitStep) -> list[int]:
        """The inputs that no other step makes; the same step in another task is not another step."""
        return [place for place in cell.places("input") if self._makers(place) <= {_step(cell)}]

    def _makers(self, place: int) -> set[Step]:
        """The steps that can run and make this bound pattern: without them what is there is raw data."""
        makers = (self.layout.cells[maker] for maker in self.layout.makers.get(place, ()))
        return {_step(maker) for maker in makers if maker.error is None}

    def _check_own_inputs(self, cell: UnitStep) -> None:
        """Refuse an output that is an input of the step that no other step makes, or contains it."""
        for place in self._own_inputs(cell):
            raw = self._raw_located[place]
            for output in cell.written:
                path = self._located[output]
                if not holds(path, raw):
                    continue
                is_same = path.text == raw.text
                linked = " (a link leads there)" if self._is_linked(output, place) else ""
                hint = "; a script that updates its own result reads it as self.path.previous" * is_same
                self._refuse(
                    f"{self._begin(cell, output)} {'is' if is_same else 'holds'} its "
                    f"input {self._text(place)}{linked}, which no other step makes: a run would replace raw data. "
                    f"Write to a path of its own, such as {self._elsewhere(cell, output)}{hint}.",
                    cell,
                )

    def _is_linked(self, output: int, other: int) -> bool:
        """Whether the texts of two meeting patterns differ, which means that a link leads from one to the other."""
        ours, theirs = self.layout.places[output], self.layout.places[other]
        return not (holds(ours.template, theirs.template) and ours.root == theirs.root)

    def _raw(self) -> dict[int, tuple[str, set[Step]]]:
        """The raw inputs: a phrase that names the reader of each, and the steps that read it."""
        readers: dict[int, tuple[str, set[Step]]] = {}
        for cell in self._usable:
            for place in self._own_inputs(cell):
                readers.setdefault(place, (f"step {_name(cell)}", set()))[1].add(_step(cell))
        for unit in self.layout.units:
            for place in unit.data:
                if not self._makers(place):
                    readers.setdefault(place, (f"modality {unit.modality}", set()))
        return readers

    def _check_raw(self) -> None:
        """Refuse outputs in the folders of raw inputs, or that may match the patterns of raw inputs."""
        readers = self._raw()
        raw = {place: self._raw_located[place] for place in readers}
        for meeting in meetings(self._located_outputs, raw, self.layout.ids):
            for cell in self._owners[meeting.outer]:
                self._check_raw_pair(cell, meeting, *readers[meeting.inner])

    def _check_raw_pair(self, cell: UnitStep, meeting: Meeting, reader: str, readers: set[Step]) -> None:
        output, place = meeting.outer, meeting.inner
        path, raw = self._located[output], self._raw_located[place]
        begin = self._begin(cell, output)
        write = f"Write to a folder of its own, such as {self._elsewhere(cell, output)}"
        read = f"{self._text(place)}, which {reader} reads"
        if holds(path, raw):
            if self._is_linked(output, place):
                self._refuse(f"{begin} lies, through a link, where raw data lie: {read}. {write}.", cell)
        elif not holds(raw, path) and (
            not raw.fields or self.layout.ids.is_told_by(raw) or _step(cell) in readers
        ):
            # a path of several records (`one/{sub}_1`) counts as made if another step writes it
            what = "matches" if meeting.is_whole else "may hold raw data of"
            end = (
                f" {what} {read}: a run would replace raw data, or take its results for recordings. "
                f"{write}, or narrow id_pattern."
            )
            self._doubt(output, meeting.path, (cell,), (begin, end), is_raw=True)

    def _doubt(
        self,
        output: int,
        other: Template,
        cells: Iterable[UnitStep],
        sentence: tuple[str, str],
        *,
        is_raw: bool,
    ) -> None:
        """Let the records decide whether an output meets another pattern."""
        shown = self.layout.places[output].template
        indices = tuple(dict.fromkeys(cell.index for cell in cells))
        self.doubts.append(Doubt(self._located[output], other, shown, is_raw, indices, sentence))

    # --- pairs of outputs ----------------------------------------------------------------------------------------

    @property
    def _located_outputs(self) -> dict[int, Template]:
        return {place: self._located[place] for place in self._owners}

    def _check_outputs(self) -> None:
        """Refuse the same output of two steps, and outputs that contain each other."""
        for place, cells in self._owners.items():
            self._check_owners(place, cells)
        for meeting in meetings(self._located_outputs, self._located_outputs, self.layout.ids):
            if meeting.outer != meeting.inner:
                self._check_pair(meeting)

    def _check_owners(self, place: int, cells: list[UnitStep]) -> None:
        if len({cell.index for cell in cells}) < len(cells):
            twice = next(cell for cell in cells if cells.count(cell) > 1)
            self._refuse(
                f"step {_name(twice)} writes {self._text(place)} twice, under two labels or as output and as "
                "control file. Write a path of its own for each.",
                twice,
            )
        steps = {_step(cell): cell for cell in cells}
        if len(steps) > 1:
            first, second = list(steps.values())[:2]
            self._refuse(
                f"the steps {_name(first)} and {_name(second)} both write {self._text(place)}: the last to run "
                f"would replace what the other made. Write a path of its own for each, such as "
                f"{self._elsewhere(second, place)}.",
                *cells,
            )

    def _check_pair(self, meeting: Meeting) -> None:
        """Refuse two outputs if the first contains the second; add a doubt if the records decide."""
        outer, inner = meeting.outer, meeting.inner
        first, second = self._located[outer], self._located[inner]
        cells = (*self._owners[outer], *self._owners[inner])
        maker, other = self._owners[outer][0], self._owners[inner][0]
        role = "output" if inner in other.places("output") else "control file"
        begin = self._begin(maker, outer)
        end = (
            f"the {role} {self._text(inner)} of {'the same step' if maker is other else f'step {_name(other)}'}: "
            f"one would replace the other. Write to paths that do not overlap, such as "
            f"{self._elsewhere(other, inner)}."
        )
        if holds(first, second):
            what = "is, through a link," if first.text == second.text else "holds"
            self._refuse(f"{begin} {what} {end}", *cells)
            return
        if not meeting.is_whole or outer < inner:
            what = "is also" if meeting.is_whole else "holds"
            self._doubt(outer, meeting.path, cells, (begin, f" {what} {end}"), is_raw=False)

    # --- fields --------------------------------------------------------------------------------------------------

    def _check_fields(self, cell: UnitStep) -> None:
        """Refuse outputs that several rows with different inputs would share, and outputs with different fields."""
        written = (*cell.linked("output"), *cell.linked("control"))
        outputs = [(link.place, self._fields(cell, link)) for link in written]
        inputs = [(link.place, self._fields(cell, link)) for link in cell.linked("input")]
        for place, fields in outputs:
            for read, needed in inputs:
                if lacks := needed - fields:
                    named = self.layout.places[read].template.fields & lacks or lacks
                    name = "id" if "id" in named else min(named)
                    by = [group for group in self.layout.ids.groups if group in fields]
                    group = f", or, for one row per group of records, by = {by} into the step (BY in a class)"
                    self._refuse(
                        f"{self._begin(cell, place)} lacks {{{name}}}, which its input "
                        f"{self._text(read)} has: rows with different inputs would share one output. Write "
                        f"{{{name}}} into the output{'' if name == 'task' else group}.",
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

    def _fields(self, cell: UnitStep, link: Link) -> frozenset[str]:
        """The fields of a step's path; `{id}` counts as all, `{task}` if the step belongs to several tasks."""
        place = link.place
        template = self.layout.places[place].template
        fields = template.fields
        is_of_record = place in self.layout.columns  # metadata differ from record to record
        is_whole = len(self._every) > 1 and fields >= self._every - {"id"}
        if is_of_record or is_whole or self.layout.ids.is_told_by(template):
            fields = self._every
        tasks = [sibling for sibling in self._siblings[_step(cell)] if sibling.task != cell.task]
        differs = any(place not in sibling.places(link.role) for sibling in tasks)
        return fields | {"task"} if differs else fields


def _step(cell: UnitStep) -> Step:
    """Return the identity of a step, the same in all its tasks."""
    return cell.modality, cell.step


def _name(cell: UnitStep) -> str:
    return "-".join(part for part in (cell.task, cell.modality, cell.step) if part)
