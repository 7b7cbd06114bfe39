"""Step statuses: the status of one step of one unit.

This module is separate from the tables' dtypes: a worker can use it without importing Polars.
"""

from enum import IntEnum

FAILURES = frozenset({"error", "timeout", "lost", "blocked"})
"""The outcomes of jobs and attempts that count as failures."""
SHORT_NAMES = {"DATA_READY": "READY", "PROCESSING": "RUNNING", "DATA_NOT_AVAILABLE": "NO_DATA"}
"""The short names of statuses, which tables show and filters accept."""
OTHER_WORDS = {"FAILED": "ERROR", "FAILURE": "ERROR", "FINISHED": "DONE", "COMPLETED": "DONE"}
"""What other tools call a status, and its name here, for suggestions."""
LONG_NAMES = {short: name for name, short in SHORT_NAMES.items()}


class StepStatus(IntEnum):
    """The status of one step of one unit.

    The numbers are those of sinagot's logs, so that old and new logs are compatible.

    Example:
        >>> from sinagot_catalog import StepStatus
        >>> StepStatus.DONE.value
        30
        >>> StepStatus(41).name
        'DATA_NOT_AVAILABLE'
    """

    INIT = 0
    """An input is missing; another step may still make it."""
    DATA_READY = 10
    """Every input is present: the step can run now."""
    PROCESSING = 20
    """A live run is running it."""
    DONE = 30
    """Every output is present."""
    ERROR = 40
    """The last attempt failed or was lost; or the script cannot be read, or its paths are refused."""
    DATA_NOT_AVAILABLE = 41
    """The last attempt found an input missing."""
    EXCLUDED = 50
    """A person decided to leave it out, or it is made from what was left out."""


CODES = {status.name: status.value for status in StepStatus}
"""The numbers of the statuses, as in the logs of sinagot."""
