"""The script logger (`self.logger`): writes the log lines of a script as journal events of the running row."""

import logging

from sinagot_catalog.journal import UnitStepLines


class ScriptLog(logging.Handler):
    """`self.logger` of the rows that one process runs: its handler writes a `log` event of the running row.

    Args:
        level: The lowest level that is recorded.
        console: Also gets what scripts log.
    """

    def __init__(self, level: int | str, console: logging.Logger | None = None) -> None:
        super().__init__()
        self._console = console
        self._lines: UnitStepLines | None = None
        self._record_id = ""
        self._unit: dict[str, str | None] = {}
        self._threshold = level
        # A separate manager: the logging configuration of a script or a user does not affect this logger.
        self.logger = logging.Manager(logging.RootLogger(logging.WARNING)).getLogger("script")
        self._ready()

    def _ready(self) -> None:
        self.logger.handlers[:] = [self]
        self.logger.propagate = False
        self.logger.disabled = False
        self.logger.filters.clear()
        self.logger.setLevel(self._threshold)
        self._number = self.logger.level

    def point(self, lines: UnitStepLines, record_id: str, unit: dict[str, str | None]) -> None:
        """Assign the following log lines to this row, and undo what the last row did to the logger."""
        logger = self.logger
        is_changed = logger.handlers != [self] or logger.level != self._number
        if is_changed or logger.filters or logger.disabled or logger.propagate:
            self._ready()
        self._lines, self._record_id, self._unit = lines, record_id, unit

    def rest(self) -> None:
        """End the row: later log lines go to the console only."""
        self._lines = None

    def emit(self, record: logging.LogRecord) -> None:
        """Write one event; `logging` handles a full disk, so the script does not fail."""
        try:
            if self._lines is not None:
                self._lines.write("log", self._record_id, self.format(record), level=record.levelname)
        except Exception:  # noqa: BLE001 as every handler of logging does
            self.handleError(record)
        if self._console is not None and self._console.isEnabledFor(record.levelno):
            record.__dict__.update(record_id=self._record_id, **self._unit)
            self._console.handle(record)
