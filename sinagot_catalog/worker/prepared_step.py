"""A prepared step: what all rows of a unit step share, computed once; and the state of the row that runs now."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, TypeAlias

from sinagot_catalog.errors import PatternError
from sinagot_catalog.journal import (
    Made,
    Port,
    Row,
    RunSpec,
    Stamp,
    UnitStepLines,
    UnitStepSpec,
    unpack_metadata,
)
from sinagot_catalog.patterns import IdPattern, Template
from sinagot_catalog.scripts import ScriptTemplate, port_paths
from sinagot_catalog.worker.files.local_files import PathQuery, RowPaths
from sinagot_catalog.worker.files.target_folders import parents

if TYPE_CHECKING:
    from sinagot_catalog.worker.files.moved_inputs import InputFile

FoundPath: TypeAlias = "str | list[FoundPath] | None"
"""The path of an input, a list of many or of those of members, or None if it is absent."""


class RecordValues:
    """What the placeholders of patterns stand for: the fields of an id, and the metadata that patterns name.

    Args:
        spec: The run.

    Attributes:
        ids: The pattern of record ids.
        metadata: The metadata that patterns name, by record.
    """

    def __init__(self, spec: RunSpec) -> None:
        self.ids = IdPattern(spec.id_pattern)
        self.metadata = {} if spec.path_values is None else unpack_metadata(spec.path_values)

    def of(self, record_id: str, by: tuple[str, ...] | None) -> dict[str, str] | None:
        """The values for a record or a group; None if the id does not fit."""
        values = self.ids.values_of(record_id, by)
        return values if values is None or not self.metadata else values | self.metadata.get(record_id, {})


class StepPorts:
    """The ports of a step (inputs, outputs or controls): their paths for a row, and how its script sees them.

    Args:
        ports: The ports.
        follow_links: Whether links to folders count also where their names vary.
    """

    def __init__(self, ports: tuple[Port, ...], *, follow_links: bool = False) -> None:
        self.ports = ports
        self.labels = [port.label for port in ports]
        self.has_only_plain = all(port.is_plain for port in ports)
        """Whether each port is exactly one path; else `RowInputs` finds out which paths a row has."""
        queries = (query_of(port, follow_links=follow_links) for port in ports if self.has_only_plain)
        self.queries = tuple(queries)
        # An id is always a valid part of a path; other fields are checked for each row.
        is_plain = all(port.template.fields <= {"id"} and not port.template.has_bare_parts for port in ports)
        self._formats = [_format_of(port.template) for port in ports] if is_plain else None

    def fill(self, values: dict[str, str]) -> list[str]:
        """The paths for a record, relative.

        Raises:
            PatternError: When a pattern gives no path for the record.
        """
        if not self.has_only_plain:
            return []
        if self._formats is None:
            return [port.template.format(values) for port in self.ports]
        return [text % values for text in self._formats]

    def ways(self, values: dict[str, str]) -> list[list[tuple[Port, Template | str]]]:
        """For each port its alternatives for a record: a path, or a pattern with wildcards.

        Raises:
            PatternError: When a port that is a single path has none for the record.
        """
        # `RowInputs` fills the others for each member.
        return [ways_of(port, values) if port.per == "row" else [] for port in self.ports]

    def as_seen(self, paths: Sequence[FoundPath]) -> Any:
        """The value that a script sees: one `Path`, a list of them, a dict by label, or None."""
        return port_paths(zip(self.labels, paths, strict=True)) if paths else None

    def by_label(self, urls: Sequence[object]) -> object:
        """One URL for a single port, a dict by label for several, None for none."""
        labelled = dict(zip(self.labels, urls, strict=True))
        return labelled.get(None, labelled) or None


def flat_paths(paths: Iterable[FoundPath]) -> Iterator[str]:
    """Every path of some inputs: an input may be many files, those of members, or absent."""
    for path in paths:
        if isinstance(path, str):
            yield path
        elif path is not None:
            yield from flat_paths(path)


def query_of(port: Port, *, follow_links: bool) -> PathQuery:
    """How to search for the path of a port."""
    template = port.template
    return PathQuery(template.is_directory, port.roots, () if follow_links else template.varies)


def ways_of(port: Port, values: dict[str, str]) -> list[tuple[Port, Template | str]]:
    """The alternatives of an input for some values: paths, or patterns with wildcards.

    Raises:
        PatternError: When an input that is a single path has none.
    """
    ways: list[tuple[Port, Template | str]] = []
    for way in (port, *port.others):
        try:
            filled = way.template.filled(values) if way.template.is_wild else way.template.format(values)
        except PatternError:
            if port.others or port.is_optional:
                continue
            raise
        ways.append((way, filled))
    return ways


class PreparedStep:
    """A unit step with everything that its rows share.

    Args:
        index: Its number in the run.
        spec: The unit step.
        lines: Writes the events of its rows.
        common: The attributes of its scripts that all steps of the run share.
        follow_links: See `StepPorts`.

    Attributes:
        name: The name of its staging folder.
        keep: The folders of its staging folder that stay for the next row, relative.
        staged: The folders that exist in its staging folder now.
        attributes: The attributes of its scripts that do not depend on the row.
        unit: The members that a log line on the console gets.
        input_fields: The fields and metadata columns that its inputs name.
    """

    def __init__(
        self,
        index: int,
        spec: UnitStepSpec,
        lines: UnitStepLines,
        common: dict[str, Any],
        *,
        follow_links: bool,
    ) -> None:
        self.spec = spec
        self.lines = lines
        self.name = f"c{index}"
        self.script: type[ScriptTemplate] | None = None
        self.importing: AbstractContextManager[None] = nullcontext()
        self.loaded_at = float("-inf")
        self.staged: set[str] = set()
        self.keep = {""}
        for port in (*spec.outputs, *spec.controls):
            self.keep.update(parents(port.template.prefix))
        self.inputs = StepPorts(spec.inputs, follow_links=follow_links)
        self.input_fields = {
            name for port in spec.inputs for way in (port, *port.others) for name in way.template.fields
        }
        self.outputs = StepPorts(spec.outputs, follow_links=follow_links)
        self.controls = StepPorts(spec.controls)
        self.declares_folder = any(port.template.is_directory for port in spec.outputs)
        self.unit = {"task": spec.task, "modality": spec.modality, "step_label": spec.step}
        self.attributes = {
            **common,
            "task": spec.task,
            "modality": spec.modality,
            "label": spec.step,
            **({"params": spec.params} if spec.params else {}),
        }


class RowState:
    """The state of the running row: its relative and full paths, in the order of the ports, and its progress.

    Args:
        row: The row.
        step: Its step.
        values: The values of its record's fields.

    Attributes:
        published: The paths that the row publishes; None as long as its outputs are not checked.
        files: The staged paths that are plain files.
        left_out: The staged paths that are neither published nor part of an output.
        folders: For each staged folder, size and time of its files by name.
        raised: The script's exception, to be raised after its event.
        is_in_steps: Whether publishing has begun and takes several renames or uploads.
        records: What `done` records of the published paths.
        input_files: The local files that it reads.
        moved_inputs: The inputs that its script moved and that were put back, relative.
        in_place: The declared outputs that are files in place before the script starts.
        input_ways: For each input its alternatives, if one of them is not exactly one path.
        members: The ids of the members of a group; those that it runs over when its inputs are found. None for the
            row of a record.
        input_paths: For each input the path that was found, relative: a list of many, None if it is absent.
    """

    published: list[str] | None = None
    files: Collection[str] = ()
    left_out: Collection[str] = ()
    is_in_steps = False
    raised: BaseException | None = None
    script: ScriptTemplate | None = None
    attempt = mark = 0
    started = 0.0

    def __init__(self, row: Row, step: PreparedStep, values: dict[str, str]) -> None:
        self.number, _, self.record_id = row
        self.step = step
        self.inputs = step.inputs.fill(values)
        self.input_ways = [] if step.inputs.has_only_plain else step.inputs.ways(values)
        self.input_paths: list[FoundPath] = list(self.inputs)
        self.outputs = step.outputs.fill(values)
        self.controls = step.controls.fill(values) if step.controls.ports else []
        self.full_inputs: list[FoundPath] = []
        self.stamps: list[Stamp | None] = []
        self.missing: list[str] = []
        self.folders: dict[str, dict[str, tuple[int, int]]] = {}
        self.records: list[Made] = []
        self.in_place: set[str] = set()
        self.input_files: list[InputFile] = []
        self.moved_inputs: list[str] = []
        self.members: list[str] | None = None

    @property
    def paths(self) -> RowPaths:
        """The paths by which its files are got ready."""
        return RowPaths(tuple(self.inputs), tuple(self.outputs), self.step.inputs.queries)

    @property
    def half_published(self) -> list[str] | None:
        """The paths that may be half published; later events repeat them, so that the journal keeps them."""
        return self.published if self.is_in_steps else None


def _format_of(template: Template) -> str:
    """A template as a `%` format string: the fastest way to fill it, which happens for every row."""
    return "".join(
        value.replace("%", "%%") if kind == "text" else f"%({value})s" for kind, value in template.tokens
    )
