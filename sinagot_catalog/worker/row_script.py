"""The script of a row: loads its class, and makes the object whose `run()` the job runner calls."""

import time
from functools import partial
from typing import Any

from sinagot_catalog.journal import Reads, RunSpec, unpack_metadata
from sinagot_catalog.scripts import ScriptHost, ScriptPath, ScriptTemplate, mapped, reads_of
from sinagot_catalog.worker.error_text import note_line
from sinagot_catalog.worker.files.local_files import LocalFiles
from sinagot_catalog.worker.prepared_step import PreparedStep, RecordValues, RowState
from sinagot_catalog.worker.process.row_interrupts import RowInterrupts

_RELOAD_AFTER = 0.5
"""Seconds between checks of a script's file for changes."""


class RowScripts:
    """Makes the scripts of rows.

    Args:
        spec: The run.
        files: The files of the run.
        values: What the placeholders of patterns stand for.
        interrupts: Tells an interrupt that an import raises from the user's.
    """

    def __init__(
        self, spec: RunSpec, files: LocalFiles, values: RecordValues, interrupts: RowInterrupts
    ) -> None:
        self._spec = spec
        self._files = files
        self._values = values
        self._ids = values.ids
        self._interrupts = interrupts
        self._host = ScriptHost(spec.scripts)
        self._metadata: dict[str, dict[str, Any]] | None = None

    def load(self, step: PreparedStep) -> type[ScriptTemplate]:
        """The class of a step's script; imported again if its file changed."""
        if step.spec.command is not None:
            if step.script is None:
                from sinagot_catalog.scripts import command_script

                step.script = command_script(
                    step.spec.command, self._spec.scripts, self._ids, BY=step.spec.by
                )
            return step.script
        now = time.monotonic()
        if step.script is None or now - step.loaded_at > _RELOAD_AFTER:
            try:
                with self._interrupts:
                    step.script = self._host.load(step.spec.script)
            except BaseException as error:
                note_line(error, step.spec.script)
                raise
            step.importing = self._host.importing(step.spec.script)
            step.loaded_at = time.monotonic()
        return step.script

    def make(self, script_class: type[ScriptTemplate], row: RowState, root: str) -> ScriptTemplate:
        """The script of a row, which writes to its staging folder."""
        script = script_class(row.record_id, path=self._script_path(row, root), **row.step.attributes)
        script.records = [row.record_id] if row.members is None else row.members
        script._urls = partial(self._urls, row)  # noqa: SLF001 - only this module sets it
        script._record_of = partial(self._record_of, by=row.step.spec.by)  # noqa: SLF001
        return script

    def _record_of(self, record_id: str, by: tuple[str, ...] | None) -> dict[str, Any]:
        """The fields and the metadata of a record; of a group the values that its records share."""
        if self._metadata is None:
            packed = self._spec.metadata
            self._metadata = {} if packed is None else unpack_metadata(packed)
        fields = self._ids.values_of(record_id, by) or {}
        own = {name: value for name, value in fields.items() if name in self._ids.groups}
        return {"record_id": record_id, **own, **self._metadata.get(record_id, {})}

    def reads(self, row: RowState) -> Reads:
        """What a row read, as members of its event: of its parameters, and of its record, also for its paths."""
        script = row.script
        metadata = self._values.metadata.get(row.record_id, {}) if row.members is None else {}  # of no group
        named = {name: value for name, value in metadata.items() if name in row.step.input_fields}
        if script is None or (script._read_params is None and script._read_record is None and not named):  # noqa: SLF001
            return {}
        params, record = reads_of(script, ("record_id", *self._ids.groups))
        return {"params": params, "record": list((named | record).items()) or None}

    def _script_path(self, row: RowState, root: str) -> ScriptPath:
        step = row.step
        previous = None
        if self._spec.force:
            queries = step.outputs.queries
            old = [
                self._files.find_output(path, query) for path, query in zip(row.outputs, queries, strict=True)
            ]
            previous = step.outputs.as_seen(old)
        return ScriptPath(
            step.inputs.as_seen(row.full_inputs),
            step.outputs.as_seen([f"{root}/{path}" for path in row.outputs]),
            step.controls.as_seen([f"{root}/{path}" for path in row.controls]),
            previous,
        )

    def _urls(self, row: RowState) -> ScriptPath:
        """The URLs of a row's paths."""
        step, url_of = row.step, self._files.url_of
        return ScriptPath(
            step.inputs.by_label(mapped(partial(url_of, is_input=True), row.input_paths)),
            step.outputs.by_label([url_of(path, is_input=False) for path in row.outputs]),
        )
