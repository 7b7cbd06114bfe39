"""The command line: runs `sinagot-catalog VERB`.

Results go to stdout, messages to stderr. Exit codes: 0 success or nothing to do, 1 an error of the library, 2 usage
or config, 3 some rows failed, 130 interrupted. A verb's imports happen when it is called: help and version import
no Polars, and only a submit with rows to run imports Prefect.

Begin with `verbs` (a module each); `parser` turns words into a call of one. `workspace_args` opens the workspace
that a command names; `output` and `echo` print.
"""

import gc
import os
import signal
import sys
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sinagot_catalog.cli.echo import say
from sinagot_catalog.cli.parser.app import parse
from sinagot_catalog.errors import NoMatchWarning, SinagotError
from sinagot_catalog.scripts import USER_SCRIPTS
from sinagot_catalog.startup import lazy_exports
from sinagot_catalog.worker import InterruptGuard

if TYPE_CHECKING:
    from sinagot_catalog.cli.examples import example

__getattr__ = lazy_exports(__name__)

INTERRUPTED = 130
_SCRIPTS = f"{USER_SCRIPTS}."
_LONGEST_END = 10.0
"""Seconds for what scripts registered for the end of the process."""
_COLLECT_AFTER = 100_000
"""New objects between two garbage collections: with the 700 of Python, they take about 0.04 s of the start."""


def call(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: The arguments after the program's name; by default those of this process.

    Returns:
        The exit code.

    Raises:
        SystemExit: For `--help`, `--version`, and invalid usage (2).
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a name that the terminal cannot show must not stop a run
    words = sys.argv[1:] if argv is None else list(argv)
    debug = bool(os.environ.get("SINAGOT_CATALOG_DEBUG")) or "--debug" in words
    try:
        with (
            InterruptGuard(terminates=True),  # workers are stopped, and rows are released
            warnings.catch_warnings(action="ignore", category=NoMatchWarning),  # verbs print a note
        ):
            code = parse(words)
    except KeyboardInterrupt:
        say("interrupted; what is done is kept, and the same command goes on with the rest")
        return INTERRUPTED
    except SinagotError as error:
        if debug:
            _traceback()
        say(f"error: {error.message}", error.hint)
        return error.exit_code
    except Exception as error:  # noqa: BLE001 - the outermost handler of the program
        if debug:
            _traceback()
        else:
            text = str(error).strip().partition("\n")[0]
            say(
                f"error: {type(error).__name__}: {text}. This is a fault of sinagot-catalog; run again with "
                "SINAGOT_CATALOG_DEBUG=1 for the traceback."
            )
        return 1
    return code


def main() -> None:
    """The console script: run the command and end the process."""
    gc.set_threshold(_COLLECT_AFTER)
    code = call()
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
    except OSError:  # the reader closed the pipe
        os._exit(code)
    # Everything is done and written: an interrupt from here on only hastens the end.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: os._exit(code))
    if any(name.startswith(_SCRIPTS) for name in list(sys.modules)):
        import threading

        # What scripts registered for the end of this process runs, such as the end of a pool of joblib.
        bound = threading.Timer(_LONGEST_END, os._exit, (code,))
        bound.daemon = True
        bound.start()
        sys.exit(code)
    if "prefect" in sys.modules or os.environ.get("SINAGOT_CATALOG_DEBUG"):
        sys.exit(code)
    # Unloading Polars takes as long as loading it. Everything is written by now: end the process directly.
    os._exit(code)


def _traceback() -> None:
    import traceback

    say(traceback.format_exc().rstrip())
