"""The members of groups in a worker: read once per group step from a file that the run wrote.

Standard library only.
"""

import json
import os
from collections.abc import Mapping, Sequence

from sinagot_catalog.journal import RunSpec, UnitStepSpec
from sinagot_catalog.worker.files.staging import staging_path


def members_path(log: str, run_id: str, cell: int) -> str:
    """Return the path of the file with the members of the groups of a unit step.

    Example:
        >>> members_path("/data/LOG", "r1", 3)
        '/data/LOG/.staging/r1/members/c3.json'
    """
    return f"{staging_path(log, run_id, 'members')}/c{cell}.json"


def write_members(log: str, run_id: str, cell: int, members: Mapping[str, Sequence[str]]) -> str:
    """Write the members of the groups of a unit step, by the id of a group; returns the path of the file."""
    path = members_path(log, run_id, cell)
    os.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH103, PTH120 - paths are texts here
    with open(path, "w", encoding="utf-8") as file:  # noqa: PTH123
        json.dump(members, file)
    return path


class GroupMembers:
    """Reads the members of the groups of a run.

    Args:
        spec: The run.
    """

    def __init__(self, spec: RunSpec) -> None:
        self._spec = spec
        self._read: dict[int, dict[str, list[str]]] = {}

    def of(self, cell: int, step: UnitStepSpec, record_id: str) -> list[str] | None:
        """Return the ids of the members of a row's group; None for the row of a record."""
        if step.by is None:
            return None
        if cell not in self._read:
            path = members_path(self._spec.log, self._spec.run_id, cell)
            with open(path, encoding="utf-8") as file:  # noqa: PTH123
                self._read[cell] = json.load(file)
        return self._read[cell].get(record_id, [])
