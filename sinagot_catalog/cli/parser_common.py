"""Shared parts of the argument parser: its class, and the options that several verbs have."""

from __future__ import annotations

import argparse
import re
from importlib import import_module
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

from sinagot_catalog.cli.echo import clean
from sinagot_catalog.errors import did_you_mean
from sinagot_catalog.secrets import masked

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "Parser",
    "Verbs",
    "add_output",
    "add_place",
    "add_rows",
    "add_running",
    "add_selection",
    "add_snapshot_option",
    "add_stale",
    "add_steps",
    "add_where",
    "count",
    "duration",
    "seconds",
    "verb",
]


class Parser(argparse.ArgumentParser):
    """Keeps the layout of help texts, and suggests the nearest valid word for a wrong one."""

    def __init__(self, **options: object) -> None:
        layout = argparse.RawDescriptionHelpFormatter
        super().__init__(formatter_class=layout, allow_abbrev=False, **options)  # type: ignore[arg-type]

    @property
    def options(self) -> list[str]:
        """Return every option of the parser."""
        return [text for action in self._actions for text in action.option_strings]

    @property
    def arguments(self) -> list[argparse.Action]:
        """Return every argument of the parser."""
        return self._actions

    def error(self, message: str) -> NoReturn:
        """Print the error in one line, and exit with 2."""
        wrong = re.search(r"invalid choice: '(.*?)' \(choose from (.*)\)", message)
        if wrong:
            choices = re.findall(r"[\w-]+", wrong[2])
            message = f"{wrong[1]!r} is none of {', '.join(choices)}{did_you_mean(wrong[1], choices)}"
        self.exit(2, clean(masked(f"error: {message}\nTry `{self.prog} --help`.\n")))


Verbs: TypeAlias = "argparse._SubParsersAction[Parser]"  # noqa: SLF001 - argparse has no public name for it


def verb(verbs: Verbs, name: str, does: str, about: str, examples: str) -> Parser:
    """Add a verb to the command line; its function is imported when it is called."""
    parser: Parser = verbs.add_parser(name, help=about, description=about, epilog=examples)
    parser.set_defaults(verb=late(does), name=name)
    parser.add_argument(
        "--debug", action="store_true", help=_DEBUG.get(name, "show the traceback of an error")
    )
    return parser


_DEBUG = {"run": "run in this process, log everything, and raise what a script raises"}


def late(does: str) -> Callable[[argparse.Namespace], int]:
    """Return the function of a verb, imported when it is called."""

    def call(args: argparse.Namespace) -> int:
        module, _, name = does.partition(":")
        code: int = getattr(import_module(f"sinagot_catalog.cli.{module}"), name)(args)
        return code

    return call


class Narrow(argparse.Action):
    """Combines repeated filters: each narrows further."""

    def __call__(self, _parser: Any, args: argparse.Namespace, value: Any, _option: Any = None) -> None:
        """Add one more filter."""
        before = getattr(args, self.dest, None)
        setattr(args, self.dest, value if before is None else f"({before}) AND ({value})")


def add_where(parser: Any, about: str) -> None:
    """Declare the option `--where`."""
    parser.add_argument(
        "--where", metavar="SQL", action=Narrow, help=f"{about}; repeated, it narrows further"
    )


def add_steps(parser: Any, about: str) -> None:
    """Declare the option `--step`."""
    parser.add_argument("--step", metavar="L", action="append", help=f"{about}; may be repeated")


def add_stale(parser: Any) -> None:
    """Declare the option `--stale`."""
    parser.add_argument(
        "--stale",
        action="store_const",
        const=True,
        help="what is stale by an input, a version or a parameter, too",
    )
    # a separate value could be mistaken for the workspace argument
    parser.add_argument(
        "--stale=code", dest="stale", action="store_const", const="code", help="by a changed script, too"
    )


def add_place(parser: Parser, *, positional: bool = False) -> None:
    """Declare the options that name the workspace."""
    if positional:
        parser.add_argument("place", nargs="?", metavar="WORKSPACE", help="folder, URL or toml; as -C")
    parser.add_argument(
        "-C", "--workspace", metavar="PLACE", default=argparse.SUPPRESS,
        help="folder, URL or toml of the workspace; by default the nearest folder above with a workspace.toml",
    )  # fmt: skip
    parser.add_argument(
        "--config", metavar="FILE", action="append", default=argparse.SUPPRESS,
        help="a further toml, merged over the workspace's; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--trust", action="store_true", default=argparse.SUPPRESS,
        help="run scripts that others can write, or that come from a bucket",
    )  # fmt: skip


def add_snapshot_option(parser: Parser) -> None:
    """Declare `--snapshot`."""
    parser.add_argument(
        "--snapshot", metavar="NAME", nargs="?", const="latest",
        help="as it was when that snapshot (by default the newest) was kept: nothing is listed",
    )  # fmt: skip


def add_rows(parser: Parser) -> Any:
    """Declare the options that choose rows; return their group."""
    add_place(parser, positional=True)
    which = parser.add_argument_group("which rows")
    add_where(which, "steps that fit, such as \"status = 'ERROR'\"")
    which.add_argument("--status", metavar="S", action="append", help="steps of this status; may be repeated")
    add_steps(which, "this step, tried even where an input is missing")
    which.add_argument("--record", metavar="ID", action="append", help="this record; may be repeated")
    which.add_argument(
        "--rows",
        metavar="FILE",
        help="a CSV, Parquet, IPC or JSON file with record_id [task modality step]; - for CSV from stdin",
    )
    return which


def add_selection(parser: Parser) -> None:
    """Declare the options that select rows."""
    which = add_rows(parser)
    which.add_argument("--limit", metavar="N", type=count, help="run at most so many rows")
    which.add_argument("--force", action="store_true", help="what is done, too")
    add_stale(which)
    which.add_argument("--downstream", action="store_true", help="what becomes ready by this run, too")
    which.add_argument("--ignore-missing", action="store_true", help="try rows that lack an input, too")


def add_running(parser: Parser) -> None:
    """Declare the options of a run."""
    parser.add_argument(
        "--workers", metavar="N", type=count, help="how many processes; by default one per core"
    )
    parser.add_argument(
        "--stop-after", metavar="N", type=count, help="end after so many failures of one kind"
    )
    parser.add_argument(
        "--strict", action="store_true", help="exit 3 also for rows without data, or left to another run"
    )
    parser.add_argument(
        "-y", "--yes", action="store_true", help="with --force, replace outputs without a question"
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="no bar, no log lines")
    add_output(parser)


def add_output(parser: Parser) -> None:
    """Declare the options that choose the form of the output."""
    group = parser.add_argument_group("output").add_mutually_exclusive_group()
    group.add_argument("--json", action="store_true", help="JSON on stdout")
    group.add_argument("--csv", action="store_true", help="CSV on stdout")
    group.add_argument("--parquet", metavar="FILE", help="the rows as a Parquet file")


def seconds(text: str) -> float:
    """Parse a duration in seconds."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds")
    return seconds


def duration(text: str) -> float:
    """Parse a duration with a unit; without one it is in seconds."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|m|min|h|d|)", text.strip())
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no time such as 30s, 5m or 1h")
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400}[match[2]]


def count(text: str) -> int:
    """Parse a number that is not negative."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no number of rows")
    return int(text)
