"""The layout builder: joins a config with the declarations of its scripts to a `Layout`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from sinagot_catalog.catalog.structure.layout import BoundPattern, Layout, Link, Unit, UnitStep, are_nested
from sinagot_catalog.config import CommandConfig, Config, params_of, parse_resources
from sinagot_catalog.errors import ConfigError, PatternError
from sinagot_catalog.journal import NO_RESOURCES, Resources
from sinagot_catalog.patterns import (
    Template,
    WithColumns,
    as_input,
    by_label,
    may_meet,
    parse_inputs,
    parse_labelled,
    reductions,
)
from sinagot_catalog.scripts import ScriptSource


def build_layout(
    config: Config, read: Callable[[str], ScriptSource], *, scripts: str | None = None
) -> Layout:
    """Join a config with the declarations of its scripts.

    Args:
        config: The workspace's config.
        read: Reads one script's patterns without running it, given the path of its file.
        scripts: The local folder of the scripts, if the config names a bucket.
    """
    index: dict[Template, int] = {}
    sources: dict[str, ScriptSource] = {}
    units: list[Unit] = []
    cells: list[UnitStep] = []
    for task, modality in _pairs(config):
        first = len(cells)
        patterns = _UnitPatterns(config, task, modality, index)
        steps = config.steps.scripts if modality is None else config.modalities[modality].steps(task)
        for number, step in enumerate(steps, start=1):
            program = config.steps.commands.get(step)
            if program is None:
                script = str(PurePosixPath(scripts or config.scripts) / (modality or "") / f"{step}.py")
                source = sources.get(script) or sources.setdefault(script, read(script))
            else:
                script = f"steps.{step}"
                source = _source_of(script, program)
            links, error, is_refused = patterns.links(source)
            error = error or patterns.columns_fault(source, links)
            resources, fault = _resources(config, step, source)
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
                    error=error or fault,
                    version=source.version,
                    retries=config.run.retries if source.retries is None else source.retries,
                    timeout=config.run.timeout if source.timeout is None else source.timeout,
                    command=None if program is None else program.command,
                    by=source.by,
                    is_partial=source.partial,
                    columns=source.columns,
                    report=source.report,
                    is_refused=is_refused,
                    params=params_of(config, step, task),
                    resources=resources,
                )
            )
        data = () if modality is None else patterns.data(config, modality)
        units.append(Unit(len(units), task, modality, tuple(range(first, len(cells))), data))
    whole = config.outputs == config.dataset
    layout = Layout(
        config.ids,
        tuple(units),
        tuple(cells),
        tuple(BoundPattern(template, "dataset" if whole else "") for template in index),
    )
    layout = layout if whole else in_two_roots(layout)
    if layout.not_telling and not layout.telling:
        raise ConfigError(layout.id_faults[0])
    if any(cell.columns for cell in layout.cells):
        # Polars is loaded here: completion reads a layout without it.
        from sinagot_catalog.catalog.stored_tables.file_columns import check_names

        check_names(layout, config.ids.groups, "a field of records.id_pattern")
    return layout


def _pairs(config: Config) -> list[tuple[str | None, str | None]]:
    """The units that a config declares: task by task, then the modalities that no task names."""
    if config.is_unit_mode:
        return [(None, None)]
    pairs = [(task, modality) for task, declared in config.tasks.items() for modality in declared.modalities]
    named = {modality for _, modality in pairs}
    return [*pairs, *((None, modality) for modality in config.modalities if modality not in named)]


def _source_of(name: str, program: CommandConfig) -> ScriptSource:
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
        partial=program.partial,
        columns=program.columns,
        report=program.report,
    )


def _resources(config: Config, step: str, source: ScriptSource) -> tuple[Resources, str | None]:
    """Return what a row of a step needs, and the fault of its declaration; the config wins."""
    try:
        table = {**source.resources, **(config.steps.table(step).resources or {})}
        return parse_resources(table), None
    except ValueError as error:
        return NO_RESOURCES, f"{source.where('RESOURCES')}: {error}"


class _UnitPatterns:
    """The patterns of one unit; each distinct bound pattern of all units gets one index."""

    def __init__(
        self, config: Config, task: str | None, modality: str | None, index: dict[Template, int]
    ) -> None:
        self.ids = config.ids
        self.index = index
        self._unit = {"task": task or "", "modality": modality or ""}
        self.fields = {"id", *config.ids.groups, *(() if config.is_unit_mode else self._unit)}
        has_tables = config.metadata or any(item.models.dataframe_path for item in config.modalities.values())
        self.input_fields = WithColumns(self.fields) if has_tables else self.fields

    def add(self, template: Template) -> int:
        return self.index.setdefault(template.bind(self._unit), len(self.index))

    def links(self, source: ScriptSource) -> tuple[tuple[Link, ...], str | None, bool]:
        """Return the links of a script, or the error, and whether the error is a refusal."""
        if source.error is not None:
            return (), source.error, False
        links: list[Link] = []
        for role, name, value in (
            ("input", "PATH_IN", source.path_in),
            ("output", "PATH_OUT", source.path_out),
            ("control", "PATH_CONTROL", source.path_control),
        ):
            where, is_output = source.where(name), role != "input"
            try:
                patterns = (pattern for _, item in by_label(value) for pattern in as_input(item).patterns)
                faults = (_list_fault(pattern, is_output=is_output) for pattern in patterns)
                if fault := next(filter(None, faults), None):
                    return (), f"{where}: {fault}", True
                links += self._written(role, value) if is_output else self._inputs(value)
            except PatternError as error:
                return (), f"{where}: {error.one_line.removesuffix('.')}", False
        return tuple(links), None, False

    def _written(self, role: str, value: object) -> list[Link]:
        """Return the links of the outputs or control files."""
        return [
            Link(role, label, self.add(pattern), number)
            for number, (label, pattern) in enumerate(parse_labelled(value, fields=self.fields))
        ]

    def columns_fault(self, source: ScriptSource, links: Sequence[Link]) -> str | None:
        """Return why a step with `COLUMNS` has no column; None if it has one, or does not want one."""
        if not source.columns:
            return None
        from sinagot_catalog.catalog.stored_tables.file_columns import columns_fault

        templates = list(self.index)
        outputs = [templates[link.place] for link in links if link.role == "output"]
        fault = columns_fault(outputs, by=source.by)
        return None if fault is None else f"{source.where('COLUMNS')}: {fault}"

    def _inputs(self, value: object) -> list[Link]:
        """Return the links of the inputs: one for each alternative of each port."""
        links = []
        for number, port in enumerate(parse_inputs(value, fields=self.input_fields)):
            for way in port.ways:
                if way.is_wild:
                    if columns := sorted(way.fields - self.fields):
                        raise PatternError(
                            f"{way.text!r} has a '*' and the metadata column {{{columns[0]}}}: write one of them"
                        )
                    reductions(way.bind(self._unit), self.ids)  # raises an error if it is ambiguous
                place = self.add(way)
                links.append(Link("input", port.label, place, number, port.is_optional))
        return links

    def data(self, config: Config, modality: str) -> tuple[int, ...]:
        """Return the bound patterns of a modality's own data files."""
        models = config.modalities[modality].models
        path = models.data_path
        if path is None and "{" in str(models.dataframe_path):  # sinagot's documents use this name
            path = models.dataframe_path
        try:
            patterns = parse_labelled(path, fields=self.fields)
        except PatternError as error:
            raise PatternError(
                f"modalities.{modality}.models.data_path: {error.message}", error.hint
            ) from error
        return tuple(self.add(pattern) for _, pattern in patterns)


def _list_fault(value: object, *, is_output: bool) -> str | None:
    """Explain why a list is not the parts of one path, but probably several paths.

    Args:
        value: A pattern as the user wrote it.
        is_output: Whether it is an output or a control file.

    Example:
        >>> _list_fault(["a/{id}.csv", "a/{id}.txt"], is_output=False)[:40]
        "['a/{id}.csv', 'a/{id}.txt'] is read as "
        >>> _list_fault(["raw", "{id}.csv"], is_output=True)
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


# --- outputs with a root of their own ------------------------------------------------------------------------


def in_two_roots(layout: Layout) -> Layout:
    """Set the root of each path if outputs have their own root; one pattern may become several bound patterns.

    Outputs lie under `outputs`. An input that no other step makes lies in the dataset. An input that another
    step makes lies under `outputs`, and also in the dataset unless a pattern reads it there as raw data.
    """
    index: dict[BoundPattern, int] = {}
    readings = _Readings(layout)

    def in_roots(cell: UnitStep | None, place: int, *, is_read: bool = True) -> int:
        template = layout.places[place].template
        bound = readings.place(cell, template) if is_read else BoundPattern(template, "outputs")
        return index.setdefault(bound, len(index))

    def linked(cell: UnitStep) -> tuple[Link, ...]:
        return tuple(
            replace(link, place=in_roots(cell, link.place, is_read=link.role == "input"))
            for link in cell.links
        )

    cells = tuple(replace(cell, links=linked(cell)) for cell in layout.cells)
    units = tuple(
        replace(unit, data=tuple(in_roots(None, place) for place in unit.data)) for unit in layout.units
    )
    return replace(layout, cells=cells, units=units, places=tuple(index))


class _Readings:
    """Knows which inputs other steps make, and which patterns read raw data."""

    def __init__(self, layout: Layout) -> None:
        self._written = [
            (cell, layout.places[place].template) for cell in layout.cells for place in cell.written
        ]
        self._raw = {
            layout.places[place].template
            for cell in layout.cells
            for place in cell.places("input")
            if not self._is_made(cell, layout.places[place].template)
        }

    def place(self, cell: UnitStep | None, template: Template) -> BoundPattern:
        """Return the bound pattern of a step's input, or of a file that no step reads."""
        if self._is_made(cell, template):
            is_raw = any(are_nested(raw, template) or may_meet(raw, template) for raw in self._raw)
            return BoundPattern(template, "outputs", None if is_raw else "dataset")
        others = [pattern for maker, pattern in self._written if self._is_other(maker, cell)]
        if any(may_meet(other, template) for other in others):
            return BoundPattern(template, "outputs", "dataset", is_guess=True)
        return BoundPattern(template, "dataset")

    def _is_made(self, cell: UnitStep | None, template: Template) -> bool:
        """Whether another step declares that it makes an input."""
        return any(are_nested(made, template) for maker, made in self._written if self._is_other(maker, cell))

    def _is_other(self, maker: UnitStep, cell: UnitStep | None) -> bool:
        """Whether a step is a different one; a step that makes the same outputs for another task is the same."""
        return cell is None or {*maker.places("output")} != {*cell.places("output")}
