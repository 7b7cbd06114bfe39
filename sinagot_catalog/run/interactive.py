"""Interactive use of a script: gives the user the script of a step for a record, to inspect, run or debug it."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from sinagot_catalog.catalog import no_step
from sinagot_catalog.errors import NotFoundError, SelectionError
from sinagot_catalog.run.claimed_runs.spec_builder import spec_of_one
from sinagot_catalog.scripts import ScriptHost
from sinagot_catalog.worker import JobRunner

if TYPE_CHECKING:
    from sinagot_catalog.catalog import Session, UnitStep
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
    first, *others = _find(source, step, task, modality)
    if any((cell.links, cell.params) != (first.links, first.params) for cell in others):
        units = [".".join(filter(None, (cell.task, cell.modality))) for cell in (first, *others)]
        raise SelectionError(
            f"step {step!r} has other paths or parameters in each of {', '.join(units)}",
            f"Ask one of them: ws.{units[0]}.get({record_id!r}).steps.get({step!r}).",
        )
    source.check_trusted()
    spec = spec_of_one(source, first, record_id)
    if others:
        spec = replace(spec, cells=(replace(spec.cells[0], task=task, modality=modality),))
    jobs = JobRunner(spec, "main", console=logging.getLogger("sinagot_catalog.script"))
    try:
        return jobs.script_of((0, 0, record_id))
    finally:
        jobs.close()


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
