"""The layout: what a config and its scripts declare (units, their steps in order, and the paths that link them)."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import PurePosixPath

from sinagot_catalog.catalog.refusals import Doubt, list_fault
from sinagot_catalog.config import CommandConfig, Config
from sinagot_catalog.errors import ConfigError, PatternError
from sinagot_catalog.patterns import STAR, IdPattern, Template, may_meet, parse_labelled
from sinagot_catalog.scripts import ScriptSource

__all__ = ["BoundPattern", "Layout", "Link", "Unit", "UnitStep", "build_layout", "holds", "in_two_roots"]


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
    """

    role: str
    label: str | None
    place: int


@dataclass(frozen=True)
class UnitStep:
    """A unit step: one step of one unit, the same for every record.

    Attributes:
        step_index: From 1, the order in the config.
        script: Path of the script file; for a program its name in the config.
        command: The text of a step that is a program.
        error: Why it cannot run, one sentence, else None: its patterns are not known, or they are refused.
        by: The fields of the groups that it runs over; None if it runs over records.
        is_refused: Whether its patterns are known and put data at risk (see `catalog.refusals`).
    """

    index: int
    unit: int
    task: str | None
    modality: str | None
    step_index: int
    step: str
    script: str
    links: tuple[Link, ...]
    error: str | None = None
    version: str | None = None
    retries: int = 0
    timeout: float | None = None
    command: str | None = None
    by: tuple[str, ...] | None = None
    is_refused: bool = False

    def places(self, role: str) -> list[int]:
        """Indices of the bound patterns that it uses in a role, in the script's order."""
        return [link.place for link in self.links if link.role == role]

    def linked(self, role: str) -> list[Link]:
        """Its links of a role, in the script's order."""
        return [link for link in self.links if link.role == role]


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
            for place, one in enumerate(self.places)
            if (
                makers := [
                    cell
                    for made, cell in outputs
                    if _holds(self.places[made], one) and made not in self.raw_folders.get(place, ())
                ]
            )
        }

    @cached_property
    def raw_folders(self) -> dict[int, tuple[int, ...]]:
        """The folders of raw data that steps also write to: for each the bound patterns in it that steps declare.

        An input folder is raw if no step makes it, and if a step that writes in it also reads it, or another
        raw input lies in it. A folder that steps fill and other steps read is not raw.
        """
        written: dict[int, list[UnitStep]] = {}
        for cell in self.cells:
            for place in (*cell.places("output"), *cell.places("control")):
                written.setdefault(place, []).append(cell)
        made = {place for place in self._read if not written.keys().isdisjoint(self._around(place))}
        unmade = self._read - made
        inside: dict[int, list[int]] = {}
        raw = set[str]()
        for place, cells in written.items():
            for folder in unmade.intersection(self._around(place)):
                inside.setdefault(folder, []).append(place)
                if any(folder in cell.places("input") for cell in cells):
                    raw.add(self._text(folder))
        for place in unmade if inside else ():
            raw |= {self._text(folder) for folder in self._around(place)} - {self._text(place)}
        return {folder: tuple(places) for folder, places in inside.items() if self._text(folder) in raw}

    def _text(self, place: int) -> str:
        """The text of a bound pattern, the same with and without a final slash."""
        return self.places[place].template.text

    def entries(self, root: str) -> Iterator[Template]:
        """Patterns of the entries of raw folders that steps also write to: a listing must contain these entries."""
        for place, inside in self.raw_folders.items():
            folder = self.places[place].template
            ways = {way for one in inside for way in self.places[one].template.folders()}
            for way in {folder, *(way for way in ways if way.depth > folder.depth)}:
                if self.places[place].root == root:
                    yield Template((*way.tokens, ("text", "/"), ("field", "entry")))

    def _around(self, place: int) -> Iterator[int]:
        """The bound pattern itself, and those of the folders around it."""
        one = self.places[place]
        parts = one.template.text.split("/")
        for depth in range(1, len(parts) + 1):
            yield from self._at.get((one.root, "/".join(parts[:depth])), ())

    @cached_property
    def _at(self) -> dict[tuple[str, str], list[int]]:
        """The bound patterns by root and text: with and without a final slash they are two."""
        found: dict[tuple[str, str], list[int]] = {}
        for index, place in enumerate(self.places):
            found.setdefault((place.root, place.template.text), []).append(index)
        return found

    @cached_property
    def _read(self) -> set[int]:
        """The bound patterns of inputs and data."""
        read = {link.place for cell in self.cells for link in cell.links if link.role == "input"}
        return read | {place for unit in self.units for place in unit.data}

    @cached_property
    def telling(self) -> frozenset[int]:
        """The bound patterns whose paths name their record; records share all other paths."""
        return frozenset(n for n, place in enumerate(self.places) if self.ids.is_told_by(place.template))

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

    @property
    def literal_stars(self) -> list[str]:
        """A sentence for each pattern of raw inputs with a `*`: wildcards are not supported yet."""
        texts = dict.fromkeys(self.places[place].template.text for place in self.raw)
        return [f"{text}: {STAR}" for text in texts if "*" in text]

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
        found = {
            place: [
                (made, cell)
                for made, cell in outputs
                if self.places[made].root in self.places[place].roots
                and not holds(self.places[made].template, self.places[place].template)
                and may_meet(self.places[made].template, self.places[place].template)
            ]
            for place in sorted(read)
        }
        return {place: pairs for place, pairs in found.items() if pairs}

    @cached_property
    def raw(self) -> list[int]:
        """The bound patterns of inputs and data that no step makes: the recorded data."""
        return sorted(self._read - set(self.makers))

    @cached_property
    def steps(self) -> list[str]:
        """The step names in the config's order, each once."""
        return list(dict.fromkeys(cell.step for cell in self.cells))


def _holds(made: BoundPattern, wanted: BoundPattern) -> bool:
    """Whether making `made` also makes `wanted`: the same path, a folder around it, or an entry in it."""
    return made.root in wanted.roots and holds(made.template, wanted.template)


def holds(made: Template, wanted: Template) -> bool:
    """Whether the paths of both patterns are the same, or one path is a folder around the other."""
    one, other = made.text, wanted.text
    return one == other or other.startswith(one + "/") or one.startswith(other + "/")


def build_layout(
    config: Config, read: Callable[[str], ScriptSource], *, scripts: str | None = None
) -> Layout:
    """Join a config with the declarations of its scripts.

    Args:
        config: The workspace's config.
        read: Reads one script's patterns without running it, given the path of its file.
        scripts: The local folder of the scripts, if the config names a bucket.
    """
    ids = config.ids
    places = _PatternIndex(ids, scoped=not config.is_unit_mode)
    sources: dict[str, ScriptSource] = {}
    units: list[Unit] = []
    cells: list[UnitStep] = []
    for task, modality in _pairs(config):
        first = len(cells)
        for number, step in enumerate(_steps(config, task, modality), start=1):
            program = config.steps.commands.get(step)
            if program is None:
                script = str(PurePosixPath(scripts or config.scripts) / (modality or "") / f"{step}.py")
                source = sources.get(script) or sources.setdefault(script, read(script))
            else:
                script = f"steps.{step}"
                source = _told(script, program)
            links, error, is_refused = places.links(source, task, modality)
            cells.append(
                UnitStep(
                    index=len(cells),
                    unit=len(units),
                    task=task,
                    modality=modality,
                    step_index=number,
                    step=step,
                    script=script,
                    links=links,
                    error=error,
                    version=source.version,
                    retries=config.run.retries if source.retries is None else source.retries,
                    timeout=config.run.timeout if source.timeout is None else source.timeout,
                    command=None if program is None else program.command,
                    by=source.by,
                    is_refused=is_refused,
                )
            )
        data = places.data(config, task, modality)
        units.append(Unit(len(units), task, modality, tuple(range(first, len(cells))), data))
    whole = config.outputs == config.dataset
    layout = Layout(
        ids,
        tuple(units),
        tuple(cells),
        tuple(BoundPattern(one, "dataset" if whole else "") for one in places.index),
    )
    layout = layout if whole else in_two_roots(layout)
    if layout.not_telling and not layout.telling:
        raise ConfigError(layout.id_faults[0])
    return layout


def _pairs(config: Config) -> Iterator[tuple[str | None, str | None]]:
    """The units that a config declares: task by task, then the modalities that no task names."""
    if config.is_unit_mode:
        yield None, None
        return
    for task, declared in config.tasks.items():
        for modality in declared.modalities:
            yield task, modality
    named = {modality for declared in config.tasks.values() for modality in declared.modalities}
    for modality in config.modalities:
        if modality not in named:
            yield None, modality


def _steps(config: Config, task: str | None, modality: str | None) -> Sequence[str]:
    """The step names of a unit in run order."""
    if modality is None:
        return config.steps.scripts
    return config.modalities[modality].steps(task)


def _told(name: str, program: CommandConfig) -> ScriptSource:
    """Return the config's declaration of a program step, in the form of a script's declaration."""
    return ScriptSource(
        name,
        program.inputs,
        program.outputs,
        program.control,
        program.version,
        program.retries,
        program.timeout,
        name=name,
        by=program.by,
    )


class _PatternIndex:
    """Gives each distinct bound pattern one index."""

    def __init__(self, ids: IdPattern, *, scoped: bool) -> None:
        self.fields = {"id", *ids.groups, *(("task", "modality") if scoped else ())}
        self.index: dict[Template, int] = {}

    def add(self, template: Template, task: str | None, modality: str | None) -> int:
        bound = template.bind({"task": task or "", "modality": modality or ""})
        return self.index.setdefault(bound, len(self.index))

    def links(
        self, source: ScriptSource, task: str | None, modality: str | None
    ) -> tuple[tuple[Link, ...], str | None, bool]:
        """Return the links of a script in one unit, or the error, and whether the error is a refusal."""
        if source.error is not None:
            return (), source.error, False
        links: list[Link] = []
        for role, name, value in (
            ("input", "PATH_IN", source.path_in),
            ("output", "PATH_OUT", source.path_out),
            ("control", "PATH_CONTROL", source.path_control),
        ):
            line = source.lines.get(name)
            where = f"{source.name or source.script}{f':{line}' if line else ''}: {source.called(name)}"
            for pattern in value.values() if isinstance(value, Mapping) else [value]:
                fault = list_fault(pattern, is_output=role != "input")
                if fault is not None:
                    return (), f"{where}: {fault}", True
            try:
                patterns = parse_labelled(value, fields=self.fields)
            except PatternError as error:
                return (), f"{where}: {error.message}", False
            links += [Link(role, label, self.add(one, task, modality)) for label, one in patterns]
        return tuple(links), None, False

    def data(self, config: Config, task: str | None, modality: str | None) -> tuple[int, ...]:
        """Return the bound patterns of a modality's own data files."""
        if modality is None:
            return ()
        models = config.modalities[modality].models
        path = models.data_path
        if path is None and "{" in str(models.dataframe_path):  # sinagot's documents use this name
            path = models.dataframe_path
        if path is None:
            return ()
        try:
            patterns = parse_labelled(path, fields=self.fields)
        except PatternError as error:
            raise PatternError(
                f"modalities.{modality}.models.data_path: {error.message}", error.hint
            ) from error
        return tuple(self.add(one, task, modality) for _, one in patterns)


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


def _data_place(layout: Layout, readings: "_Readings", place: int, index: dict[BoundPattern, int]) -> int:
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
        return any(holds(made, template) for maker, made in self._written if self._is_other(maker, cell))

    def _is_other(self, maker: UnitStep, cell: UnitStep | None) -> bool:
        """Whether a step is a different one; a step that makes the same outputs for another task is the same."""
        return cell is None or self._outputs[maker.index] != self._outputs[cell.index]

    def _meets(self, one: Template, other: Template) -> bool:
        return holds(one, other) or may_meet(one, other)
