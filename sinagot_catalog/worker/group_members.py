"""The members of groups in a worker: read once per group step from a file that the run wrote.

Standard library only.
"""

import json
from pathlib import Path

from sinagot_catalog.journal import RunSpec, UnitStepSpec


def members_path(run_id: str, cell: int) -> str:
    """Return the path, below the `LOG` folder, of the file with the members of the groups of a unit step.

    Example:
        >>> members_path("r1", 3)
        '.staging/r1/members/c3.json'
    """
    return f".staging/{run_id}/members/c{cell}.json"


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
            path = Path(self._spec.log, members_path(self._spec.run_id, cell))
            self._read[cell] = json.loads(path.read_bytes())
        return self._read[cell].get(record_id, [])
