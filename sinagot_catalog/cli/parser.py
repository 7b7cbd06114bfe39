"""The argument parser of the command line. Imports no slow package: the call of a verb imports its module."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sinagot_catalog import __version__
from sinagot_catalog.cli.parser_common import Parser, add_place
from sinagot_catalog.cli.parser_inspect import (
    add_completion,
    add_diff,
    add_doctor,
    add_explain,
    add_gc,
    add_init,
    add_logs,
    add_ls,
    add_report,
    add_snapshot,
    add_status,
)
from sinagot_catalog.cli.parser_run import (
    add_accept,
    add_deploy,
    add_plan,
    add_run,
    add_serve,
    add_server,
    add_submit,
    add_watch,
)
from sinagot_catalog.errors import did_you_mean

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

__all__ = ["parse", "verbs"]

_ABOUT = """A catalog of recordings: what is there, what is done, what failed and why, what can run now;
and the runs of scripts over the rows that you select."""
_FIRST = """examples:
  sinagot-catalog init harbor --example     a working workspace to start from
  sinagot-catalog status harbor             what is done, and what can run next
  sinagot-catalog run harbor                run it

exit codes: 0 fine or nothing to do, 1 our fault, 2 usage or config, 3 some rows failed, 130 interrupted"""


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the arguments of a command; `verb` of the result runs it.

    Raises:
        SystemExit: After help, the version, or invalid usage (2).
    """
    parser = Parser(prog="sinagot-catalog", description=_ABOUT, epilog=_FIRST)
    parser.add_argument("--version", action="version", version=f"sinagot-catalog {__version__}")
    add_place(parser)
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", parser_class=Parser)
    made = {add.__name__.removeprefix("add_"): add(verbs) for add in _VERBS}
    args, rest = parser.parse_known_args(argv)
    if rest:
        at = made.get(getattr(args, "name", ""), parser)
        at.error(f"unknown argument {rest[0]!r}{did_you_mean(rest[0].partition('=')[0], at.options)}")
    if "name" not in args:
        parser.exit(2, parser.format_help())
    return args


def verbs() -> dict[str, Parser]:
    """Return the parser of every verb."""
    under = Parser(prog="sinagot-catalog").add_subparsers(parser_class=Parser)
    return {add.__name__.removeprefix("add_"): add(under) for add in _VERBS}


_VERBS = (
    add_init,
    add_status,
    add_ls,
    add_plan,
    add_run,
    add_submit,
    add_watch,
    add_accept,
    add_logs,
    add_snapshot,
    add_diff,
    add_explain,
    add_report,
    add_doctor,
    add_gc,
    add_server,
    add_deploy,
    add_serve,
    add_completion,
)
