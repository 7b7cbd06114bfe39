"""Models: base classes for `scripts/<modality>/models/record.py` and `record_collection.py`, and their import.

A class `Record` or `RecordCollection` there replaces the library's class for that modality, in that workspace only:

    from sinagot_catalog.models import Record as BaseRecord

    class Record(BaseRecord):
        def age(self):
            return self.data["age"]
"""

from __future__ import annotations

import os
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from sinagot_catalog.errors import SelectionError, SinagotError, UsageError, did_you_mean
from sinagot_catalog.records import Record, RecordCollection
from sinagot_catalog.scripts import ScriptHost
from sinagot_catalog.selection import Selection
from sinagot_catalog.steps import StepCollection

if TYPE_CHECKING:
    from sinagot_catalog.catalog import Query, Session
    from sinagot_catalog.workspace import Workspace

__all__ = ["Record", "RecordCollection", "Subset", "ViewTypes"]

Subset = RecordCollection
"""sinagot's other name for `RecordCollection`."""


class ViewTypes:
    """The classes of a workspace's handles, so that no class is set globally for other workspaces.

    A modality may define its own classes of records. Its file is imported when a scope of the modality is made, and
    only if the workspace is trusted.

    Args:
        source: The session of the workspace.
        workspace: The workspace of the handles.
    """

    records = RecordCollection
    steps = StepCollection

    def __init__(self, source: Session, workspace: Workspace) -> None:
        self.workspace = workspace
        self._source = source
        self._made: dict[type[Any], type[Any]] = {}

    def make(self, source: Session, query: Query) -> Selection:
        """Return the handle of a query's table."""
        if query.table == "steps":
            return StepCollection(source, self, query)
        if query.table != "records":
            return Selection(source, self, query)
        base = RecordCollection if query.record is None else Record
        own = None if query.modality is None else self._custom(query.modality, base)
        if own is None:
            return base(source, self, query)
        pinned = getattr(own, "pinned_task", None)
        return own(source, self, replace(query, task=query.task or pinned))  # type: ignore[no-any-return]

    def _custom(self, modality: str, base: type[Any]) -> type[Any] | None:
        """Return a modality's own class in place of `base`; None if it has none."""
        module = "record" if base is Record else "record_collection"
        file = f"{self._source.scripts}/{modality}/models/{module}.py"
        if not os.path.exists(file):  # noqa: PTH110 - faster than pathlib, called for each scope
            return None
        if self._source.distrust() is not None:
            return None
        name = getattr(self._source.config.modalities[modality].models, module) or base.__name__
        try:
            own = self._host.load(file, name)
        except SinagotError:
            raise
        except Exception as error:
            raise UsageError(f"{file} cannot be imported: {type(error).__name__}: {error}") from error
        if own not in self._made:
            bases = (own,) if issubclass(own, base) else (own, base)
            name = f"{modality[:1].upper()}{modality[1:]}{base.__name__}"
            self._made[own] = type(name, bases, self._body(file, own, modality))
        return self._made[own]

    @cached_property
    def _host(self) -> ScriptHost:
        return ScriptHost(self._source.scripts)

    def _body(self, file: str, own: type[Any], modality: str) -> dict[str, Any]:
        """Return the class body: a class attribute `task` becomes the default task, `task` stays the scope's."""
        pinned = getattr(own, "task", None)
        if not isinstance(pinned, str):
            return {}
        tasks = [name for name, task in self._source.config.tasks.items() if modality in task.modalities]
        if pinned not in tasks:
            raise SelectionError(
                f"{file}: {own.__name__}.task: {pinned!r} is not a task of {modality}{did_you_mean(pinned, tasks)}",
                f"Its tasks: {', '.join(tasks) or 'none'}.",
            )
        return {"task": RecordCollection.task, "pinned_task": pinned}

    def __reduce__(self) -> tuple[Any, ...]:
        return ViewTypes, (self._source, self.workspace)
