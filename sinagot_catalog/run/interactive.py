"""Interactive use of a script: gives the user the script of a step for a record, to inspect, run or debug it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from sinagot_catalog.catalog import no_step
from sinagot_catalog.errors import NotFoundError, SelectionError
from sinagot_catalog.patterns import id_values
from sinagot_catalog.scripts import ScriptHost
from sinagot_catalog.storage import find_many

if TYPE_CHECKING:
    from sinagot_catalog.catalog import Link, Session, UnitStep
    from sinagot_catalog.scripts import ScriptTemplate


def load_script(source: Session, step: str, task: str | None, modality: str | None) -> type[ScriptTemplate]:
    """Import the script of a step."""
    cell = _find(source, step, task, modality)[0]
    source.check_trusted()
    if cell.command is None:
        return ScriptHost(source.scripts).load(cell.script)
    from sinagot_catalog.scripts import command_script

    program = source.config.steps.commands[step]
    paths = {"PATH_IN": program.inputs, "PATH_OUT": program.outputs, "PATH_CONTROL": program.control}
    return command_script(cell.command, source.scripts, source.config.ids, **paths)


def script_of(
    source: Session, step: str, task: str | None, modality: str | None, record_id: str
) -> ScriptTemplate:
    """The script of a step for one record, with its real paths.

    Raises:
        SelectionError: When the paths differ between tasks or modalities of the scope, and the user names none.
    """
    from sinagot_catalog.scripts import ScriptPath, port_paths

    first, *others = _find(source, step, task, modality)
    if any((cell.links, cell.params) != (first.links, first.params) for cell in others):
        units = [".".join(filter(None, (cell.task, cell.modality))) for cell in (first, *others)]
        raise SelectionError(
            f"step {step!r} has other paths or parameters in each of {', '.join(units)}",
            f"Ask one of them: ws.{units[0]}.get({record_id!r}).steps.get({step!r}).",
        )
    layout = source.layout()
    roots = {"dataset": source.config.dataset, "outputs": source.config.outputs}
    values = _values(source, record_id)

    def found(port: list[Link]) -> str | list[str] | None:
        """The path of an input that exists, else of its first alternative."""
        bound = [layout.places[link.place] for link in port]
        is_plain = len(bound) == 1 and not port[0].is_optional
        for place in bound:
            for root in (roots[name] for name in place.roots):
                if place.template.is_wild:
                    many = find_many(root, place.template.filled(values))
                    if many:
                        return [f"{root}/{path}" for path in many]
                elif is_plain or Path(f"{root}/{place.template.format(values)}").exists():
                    return f"{root}/{place.template.format(values)}"
        return None

    def paths(role: str) -> Any:
        places = [(link.label, layout.places[link.place]) for link in first.linked(role)]
        return port_paths(
            (label, f"{roots[place.root]}/{place.template.format(values)}") for label, place in places
        )

    return load_script(source, step, task, modality)(
        record_id,
        data_path=source.config.dataset,
        task=task if others else first.task,
        modality=modality if others else first.modality,
        label=step,
        path=ScriptPath(
            port_paths((port[0].label, found(port)) for port in first.input_ports),
            paths("output"),
            paths("control"),
        ),
        params=first.params or None,
        record=_record(source, record_id),
    )


def _values(source: Session, record_id: str) -> dict[str, str]:
    """The values of the placeholders for a record."""
    values = id_values(record_id, source.config.ids)
    if values is None:
        raise NotFoundError(f"{record_id!r} {source.config.ids.refusal(record_id)}")
    if source.layout().columns:
        rows = source.catalog().path_values.filter(pl.col("record_id") == record_id)
        values |= rows.drop("record_id").row(0, named=True) if rows.height else {}
    return values


def _record(source: Session, record_id: str) -> dict[str, Any]:
    """The fields of a record's id, and its row of the metadata tables."""
    ids = source.config.ids
    values = id_values(record_id, ids) or {}
    record = {"record_id": record_id, **{name: value for name, value in values.items() if name in ids.groups}}
    if source.config.metadata:
        rows = source.catalog().metadata.filter(pl.col("record_id") == record_id)
        record |= rows.row(0, named=True) if rows.height else {}
    return record


def _find(source: Session, step: str, task: str | None, modality: str | None) -> list[UnitStep]:
    """The unit steps of a step within a scope.

    Raises:
        NotFoundError: When there is no such step, or its patterns are not known.
    """
    unit_steps = [
        cell
        for cell in source.layout().cells
        if cell.step == step and task in (None, cell.task) and modality in (None, cell.modality)
    ]
    if not unit_steps:
        raise NotFoundError(*no_step(source, step, source.layout().steps, " here"))
    for cell in unit_steps:
        if cell.error:
            raise NotFoundError(cell.error)
    return unit_steps
