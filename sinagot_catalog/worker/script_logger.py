"""The logger that a script is given: its lines become events of the row at work."""

import logging

from sinagot_catalog.journal import UnitStepLines

__all__ = ["ScriptLog"]


class ScriptLog:
    """`self.logger` of the rows that one process runs.

    Args:
        level: The least level that is kept.
        console: Gets what scripts log, beside the journal.
    """

    def __init__(self, level: int | str, console: logging.Logger | None = None) -> None:
        self._handler = _Journaling(console)
        self._level = level
        # A manager of its own: what a script or a user sets up for logging at large does not reach it.
        self.logger = logging.Manager(logging.RootLogger(logging.WARNING)).getLogger("script")
        self._ready()

    def _ready(self) -> None:
        self.logger.handlers[:] = [self._handler]
        self.logger.propagate = False
        self.logger.disabled = False
        self.logger.filters.clear()
        self.logger.setLevel(self._level)
        self._number = self.logger.level

    def point(self, lines: UnitStepLines, record_id: str, unit: dict[str, str | None]) -> None:
        """From here on what is said belongs to this row, whatever the last one did to the logger."""
        logger = self.logger
        is_changed = logger.handlers != [self._handler] or logger.level != self._number
        if is_changed or logger.filters or logger.disabled or logger.propagate:
            self._ready()
        self._handler.lines = lines
        self._handler.record_id = record_id
        self._handler.unit = unit

    def rest(self) -> None:
        """No row is at work: what is said now goes nowhere but to the console."""
        self._handler.lines = None


class _Journaling(logging.Handler):
    """Turns records of a script's logger into `log` events of the row at work."""

    def __init__(self, console: logging.Logger | None) -> None:
        super().__init__()
        self.lines: UnitStepLines | None = None
        self.record_id = ""
        self.unit: dict[str, str | None] = {}
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        """Write one event; a full disk is told to `logging`, not to the script."""
        try:
            if self.lines is not None:
                self.lines.log(self.record_id, self.format(record), record.levelname)
        except Exception:  # noqa: BLE001 as every handler of logging does
            self.handleError(record)
        if self._console is not None and self._console.isEnabledFor(record.levelno):
            record.__dict__.update(record_id=self.record_id, **self.unit)
            self._console.handle(record)
