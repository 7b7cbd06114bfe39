"""The status of one step of one unit.

Kept apart from the tables' dtypes so that a worker, which never sees a frame, can name a status without
importing Polars.
"""

from enum import IntEnum

__all__ = ["StepStatus"]


class StepStatus(IntEnum):
    """Where one step of one unit stands.

    The numbers are those that sinagot writes to its logs, so old logs and new ones read the same.

    Example:
        >>> StepStatus.DONE.value
        30
        >>> StepStatus(41).name
        'DATA_NOT_AVAILABLE'
    """

    INIT = 0
    """An input is missing; another step may still make it."""
    DATA_READY = 10
    """Every input is there: the step can run now."""
    PROCESSING = 20
    """A live run is at it."""
    DONE = 30
    """Every output is there."""
    ERROR = 40
    """The last attempt failed or was lost with its run; or the script cannot be read, or its paths are refused."""
    DATA_NOT_AVAILABLE = 41
    """The last attempt found an input missing."""
