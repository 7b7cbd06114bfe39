"""Signals: Ctrl-C and SIGTERM end a command; workers are stopped, and rows are released."""

from sinagot_catalog.worker import InterruptGuard


class Interrupts(InterruptGuard):
    """The interrupt guard of a command."""

    def __init__(self) -> None:
        super().__init__(terminates=True)
