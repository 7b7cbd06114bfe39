"""The layout: what a config and its scripts declare (units, their steps in order, and the paths that link them)."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import groupby

from sinagot_catalog.catalog.structure.path_conflicts import Doubt
from sinagot_catalog.errors import NotFoundError, SelectionError, did_you_mean, row_label
from sinagot_catalog.journal import StepSettings
from sinagot_catalog.patterns import IdPattern, Template, holds, may_meet
from sinagot_catalog.startup import dataclass


@dataclass(frozen=True)
class BoundPattern:
    """A bound pattern: a pattern and the roots that may hold its paths (`dataset`, `outputs`).

    Attributes:
        root: The root that is searched first.
        other: The root that is searched next, if the path is absent there.
        is_guess: A step may write the paths of some records only, and only the ids decide which: a file under
            `outputs` does not define a record.
    """

    template: Template
    root: str
    other: str | None = None
    is_guess: bool = False

    @property
    def roots(self) -> tuple[str, ...]:
        """The roots in search order."""
        return (self.root,) if self.other is None else (self.root, self.other)

    @property
    def telling(self) -> tuple[str, ...]:
        """The roots whose files define records."""
        return tuple(root for root in self.roots if not self.is_guess or root != "outputs")


@dataclass(frozen=True)
class Link:
    """One path that a step reads or writes.

    Attributes:
        role: `input`, `output`, `control` or `data`.
        label: Its key if the script has a dict of patterns, else None.
        place: Index of its bound pattern in `Layout.places`.
        port: The number of its port among those of the role: alternatives of one input share it.
        is_optional: Whether the step also runs without it.
    """

    role: str
    label: str | None
    place: int
    port: int = 0
    is_optional: bool = False


@dataclass(frozen=True)
class UnitStep(StepSettings):
    """A unit step: one step of one unit, the same for every record.

    Attributes:
        step_index: From 1, the order in the config.
        error: Why it cannot run, one sentence, else None: its patterns are not known, or they are refused.
        columns: Whether the values of its output are a column, see `stored_tables.file_columns`.
        report: Whether the report shows what it writes.
        is_refused: Whether its patterns are known and put data at risk (see `structure.path_conflicts`).
    """

    index: int
    unit: int
    step_index: int
    links: tuple[Link, ...]
    error: str | None = None
    columns: bool = False
    report: bool = False
    is_refused: bool = False

    def places(self, role: str) -> list[int]:
        """Indices of the bound patterns that it uses in a role, in the script's order."""
        return [link.place for link in self.links if link.role == role]

    def linked(self, role: str) -> list[Link]:
        """Its links of a role, in the script's order."""
        return [link for link in self.links if link.role == role]

    @property
    def written(self) -> list[int]:
        """Indices of the bound patterns of its outputs and control files, in the script's order."""
        return [*self.places("output"), *self.places("control")]

    @cached_property
    def input_ports(self) -> list[list[Link]]:
        """Its inputs in the script's order, each with its alternatives."""
        return [list(links) for _, links in groupby(self.linked("input"), key=lambda link: link.port)]

    @cached_property
    def required(self) -> list[list[Link]]:
        """The inputs that it does not run without."""
        return [port for port in self.input_ports if not port[0].is_optional]


@dataclass(frozen=True)
class Unit:
    """One task and modality that the config declares, the same for every record."""

    index: int
    task: str | None
    modality: str | None
    cells: tuple[int, ...]
    data: tuple[int, ...] = ()


@dataclass(frozen=True)
class Layout:
    """Everything that is known without a listing of the dataset."""

    ids: IdPattern
    units: tuple[Unit, ...]
    cells: tuple[UnitStep, ...]
    places: tuple[BoundPattern, ...]
    doubts: tuple[Doubt, ...] = ()
    """Pairs of patterns whose paths may be the same: the record ids of a listing decide."""

    @cached_property
    def makers(self) -> dict[int, list[int]]:
        """For each bound pattern the unit steps that write it; a directory also counts for the paths in it."""
        outputs = [(place, cell.index) for cell in self.cells for place in cell.places("output")]
        return {
            place: makers
            for place, bound in enumerate(self.places)
            if (
                makers := [
                    cell
                    for made, cell in outputs
                    if _holds(self.places[made], bound) and made not in self.raw_folders.get(place, ())
                ]
            )
        }

    @cached_property
    def raw_folders(self) -> dict[int, tuple[int, ...]]:
        """The folders of raw data that steps also write to: for each the bound patterns in it that steps declare.

        An input folder is raw if no step makes it, and if a step that writes in it also reads it, or another
        raw input lies in it. A folder that steps fill and other steps read is not raw.
        """
        paths = [f"{place.root}/{place.template.text}/" for place in self.places]
        written: dict[int, list[UnitStep]] = {}
        for cell in self.cells:
            for place in cell.written:
                written.setdefault(place, []).append(cell)
        outputs = tuple(paths[place] for place in written)
        unmade = sorted(place for place in self._read if not paths[place].startswith(outputs))
        inputs = tuple(paths[place] for place in unmade)
        nested = [place for place in written if paths[place].startswith(inputs)]
        inside = {
            folder: places
            for folder in unmade
            if (places := tuple(place for place in nested if paths[place].startswith(paths[folder])))
        }
        raw = {
            paths[folder]
            for folder, places in inside.items()
            if any(folder in cell.places("input") for place in places for cell in written[place])
            or any(path != paths[folder] and path.startswith(paths[folder]) for path in inputs)
        }
        return {folder: places for folder, places in inside.items() if paths[folder] in raw}

    def entries(self, root: str) -> Iterator[Template]:
        """Patterns of the entries of raw folders that steps also write to: a listing must contain these entries."""
        for place, inside in self.raw_folders.items():
            folder = self.places[place].template
            ways = {way for index in inside for way in self.places[index].template.folders()}
            for way in {folder, *(way for way in ways if way.depth > folder.depth)}:
                if self.places[place].root == root:
                    yield Template((*way.tokens, ("text", "/"), ("field", "entry")))

    @cached_property
    def _read(self) -> set[int]:
        """The bound patterns of inputs and data."""
        read = {link.place for cell in self.cells for link in cell.links if link.role == "input"}
        return read | {place for unit in self.units for place in unit.data}

    @cached_property
    def columns(self) -> dict[int, list[str]]:
        """The metadata columns that bound patterns of inputs name, for those that name any."""
        known = {"id", *self.ids.groups}
        return {
            n: sorted(names)
            for n, place in enumerate(self.places)
            if (names := place.template.fields - known)
        }

    @cached_property
    def telling(self) -> frozenset[int]:
        """The bound patterns whose paths name their record; records share all other paths."""
        return frozenset(n for n, place in enumerate(self.places) if self.ids.is_told_by(place.template))

    @cached_property
    def silent(self) -> frozenset[int]:
        """The bound patterns of inputs that find no records.

        They are those that only optional inputs name, and those with an alternative that several records share,
        such as a sidecar file that a folder inherits: another input of the step finds its records.
        """
        silent: set[int] = set()
        others = {place for unit in self.units for place in unit.data}
        for cell in self.cells:
            others.update(link.place for link in cell.links if link.role != "input")
            finding = [port for port in cell.input_ports if self._finds_records(port)]
            for port in cell.input_ports:
                is_silent = port[0].is_optional or (bool(finding) and port not in finding)
                (silent if is_silent else others).update(link.place for link in port)
        return frozenset(silent - others)

    def _finds_records(self, port: Sequence[Link]) -> bool:
        """Whether each alternative of an input belongs to one record, and the input is needed."""
        return not port[0].is_optional and all(link.place in self.telling for link in port)

    @cached_property
    def not_telling(self) -> list[int]:
        """The inputs and data with all fields but `{id}`, if the id cannot be built from its fields."""
        if not self.ids.groups or not isinstance(self.ids.form, str):
            return []
        fields = set(self.ids.groups)
        return [
            n for n in self.raw if "id" not in (have := self.places[n].template.fields) and fields <= have
        ]

    @property
    def id_faults(self) -> list[str]:
        """Why raw inputs find no records: one sentence per pattern, with its position in the config."""
        return [
            f"workspace.toml: records.id_pattern: an id cannot be written from its fields, for {self.ids.form}; "
            f"so {self.places[place].template.text} finds no records (put what varies in a field, or write {{id}})"
            for place in self.not_telling
        ]

    @cached_property
    def in_log(self) -> list[str]:
        """A sentence for each pattern of raw inputs in the folder `LOG`, which is never listed."""
        texts = dict.fromkeys(self.places[place].template.text for place in self.raw)
        return [
            f"{text} finds nothing: the folder LOG of a dataset is the library's own; rename that folder"
            for text in texts
            if text.startswith("LOG/")
        ]

    @cached_property
    def near(self) -> dict[int, list[tuple[int, int]]]:
        """For each bound pattern that steps read, the outputs that may name the same path for another record.

        Their patterns differ in text, and only the ids decide: pairs of bound pattern and unit step.
        """
        read = {place for cell in self.cells for place in cell.places("input")}
        outputs = [(place, cell.index) for cell in self.cells for place in cell.places("output")]
        neighbours = {
            place: [
                (output, cell)
                for output, cell in outputs
                if self.places[output].root in self.places[place].roots
                and not are_nested(self.places[output].template, self.places[place].template)
                and may_meet(self.places[output].template, self.places[place].template)
            ]
            for place in sorted(read)
        }
        return {place: pairs for place, pairs in neighbours.items() if pairs}

    @cached_property
    def bys(self) -> tuple[tuple[str, ...], ...]:
        """The lists of fields over which steps run in groups, each once."""
        fields = set(self.ids.groups)
        return tuple(
            dict.fromkeys(cell.by for cell in self.cells if cell.by is not None and fields >= set(cell.by))
        )

    def is_own(self, cell: UnitStep, port: list[Link]) -> bool:
        """Whether a path or an input belongs to the row itself; the inputs of each member of a group do not."""
        is_of_record = cell.by is None or port[0].role != "input"
        return is_of_record or all(
            self.places[link.place].template.fields <= set(cell.by or ()) for link in port
        )

    def member_by(self, cell: UnitStep) -> tuple[str, ...] | None:
        """The fields of the groups that are the members of a group step; None if records are its members."""
        lower: set[tuple[str, ...] | None] = set()
        for port in cell.input_ports:
            if not self.is_own(cell, port):
                makers = {made for link in port for made in self.makers.get(link.place, ())} - {cell.index}
                lower |= {self.cells[made].by for made in makers} or {None}
        only = lower.pop() if len(lower) == 1 else None
        return only if only is not None and set(only) > set(cell.by or ()) else None

    @cached_property
    def raw(self) -> list[int]:
        """The bound patterns of inputs and data that no step makes: the recorded data."""
        return sorted(self._read - set(self.makers))

    def units_in(self, task: str | None, modality: str | None) -> list[Unit]:
        """Return the units of a scope; None stands for all tasks or modalities."""
        return [
            unit for unit in self.units if task in (None, unit.task) and modality in (None, unit.modality)
        ]

    def unit_step(self, step: str, task: str | None, modality: str | None) -> UnitStep:
        """Return the only step of that name in a task and a modality.

        Raises:
            NotFoundError: There is no such step; names similar ones.
            SelectionError: No unit, or more than one, has it.
        """
        named = [cell for cell in self.cells if cell.step == step]
        if not named:
            raise NotFoundError(
                f"there is no step {step!r}{did_you_mean(step, self.steps)}",
                f"Steps: {', '.join(self.steps) or 'none'}.",
            )
        fits = [cell for cell in named if task in (None, cell.task) and modality in (None, cell.modality)]
        if len(fits) != 1:
            units = ", ".join(row_label(cell.task, cell.modality) for cell in named)
            asked = row_label(task, modality)
            what = f"is not a step of {asked}" if asked and not fits else "is a step of several units"
            raise SelectionError(f"{step!r} {what}: it is one of {units}", "Name the task and the modality.")
        return fits[0]

    @cached_property
    def steps(self) -> list[str]:
        """The step names in the config's order, each once."""
        return list(dict.fromkeys(cell.step for cell in self.cells))


def _holds(made: BoundPattern, wanted: BoundPattern) -> bool:
    """Whether making `made` also makes `wanted`: the same path, a folder around it, or an entry in it."""
    return made.root in wanted.roots and are_nested(made.template, wanted.template)


def are_nested(first: Template, second: Template) -> bool:
    """Whether the paths of both patterns are the same, or one path is a folder around the other."""
    return holds(first, second) or holds(second, first)
