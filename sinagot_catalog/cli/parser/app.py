"""The program: the verbs, each imported when it is called, and errors of usage in one sentence."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import click

from sinagot_catalog import __version__
from sinagot_catalog.cli.echo import say
from sinagot_catalog.cli.parser.command import Argument, Command, Context, write_options
from sinagot_catalog.cli.parser.options import WORKSPACE
from sinagot_catalog.errors import did_you_mean

_HOMES = {"plan": "run", "submit": "run", "snapshot": "diff", "serve": "deploy", "include": "exclude"}
"""The modules of verbs that share one; any other verb has a module of its own."""
_VERBS = (
    *("init", "status", "ls", "plan", "run", "submit", "sbatch", "watch", "exclude", "include", "accept"),
    *("logs", "snapshot", "diff", "explain", "report", "ui", "doctor", "gc", "server", "deploy", "serve"),
    "completion",
)
_ABOUT = """A catalog of recordings: what is there, what is done, what failed and why, what can run now;
and the runs of scripts over the rows that you select."""
_EXAMPLES = """
examples:
  sinagot-catalog init harbor --example     a working workspace to start from
  sinagot-catalog status harbor             what is done, and what can run next
  sinagot-catalog run harbor                run it

"""
_EXIT_CODES = """
exit codes: 0 fine or nothing to do, 1 program error, 2 usage or config, 3 some rows failed, 130 interrupted
"""


class Program(click.Group):
    """The group of verbs. Imports the module of a verb when the verb is needed."""

    context_class = Context

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the verbs in the order of the help."""
        return list(_VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> Command | None:  # noqa: ARG002
        """Return a verb; None if there is none of that name."""
        if cmd_name not in _VERBS:
            return None
        module = import_module(f"sinagot_catalog.cli.verbs.{_HOMES.get(cmd_name, cmd_name)}")
        command: Command = getattr(module, cmd_name)
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """Return the verb of some words; an unknown one raises an error that names the nearest."""
        word = args[0]
        if word not in _VERBS and not ctx.resilient_parsing and not word.startswith("-"):
            raise click.UsageError(f"{word!r} is not one of {', '.join(_VERBS)}{_near_verb(word)}", ctx)
        return super().resolve_command(ctx, args)

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the help: the verbs, each with its sentence, then options and examples."""
        formatter.write(f"usage: {ctx.command_path} [options] VERB ...\n\n")
        formatter.write_text(_ABOUT)
        verbs = [(name, self.get_command(ctx, name)) for name in _VERBS]
        with formatter.section("verbs"), formatter.indentation():
            formatter.write_dl([(name, command.help or "") for name, command in verbs if command is not None])
        write_options(self, ctx, formatter)
        formatter.write(_EXAMPLES)
        formatter.write_text(_EXIT_CODES)


APP = Program(
    "sinagot-catalog",
    params=[*WORKSPACE],
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=False,
)
click.version_option(__version__, message="%(prog)s %(version)s", help="show the version")(APP)


def parse(argv: Sequence[str]) -> int:
    """Run the verb that some words name, and return its exit code.

    Raises:
        SystemExit: After help, the version, or invalid usage (2).
    """
    try:
        with APP.make_context("sinagot-catalog", list(argv)) as ctx:
            if ctx.invoked_subcommand is None and not ctx._protected_args and not ctx.args:  # noqa: SLF001
                click.echo(ctx.get_help(), err=True)
                raise SystemExit(2)
            code: int = APP.invoke(ctx)
            return code
    except click.exceptions.Exit as end:
        raise SystemExit(end.exit_code) from None
    except click.UsageError as error:
        verb = [word for word in argv if word in _VERBS][:1]
        path = error.ctx.command_path if error.ctx else " ".join(["sinagot-catalog", *verb])
        say(f"error: {_sentence(error)}", f"Try `{path} --help`.")
        raise SystemExit(2) from None


_OPTIONS = {
    "--cores": "--workers", "--cpus": "--workers", "--filter": "--where", "--forceall": "--force",
    "--forcerun": "--force", "--id": "--record", "--jobs": "--workers", "--n-jobs": "--workers",
    "--processes": "--workers", "--query": "--where", "--rerun-incomplete": "--stale", "--script": "--step",
    "--select": "--where", "--until": "--step",
}  # fmt: skip
"""Our names for options of other programs."""

_WORDS = {
    "list": "ls",
    "show": "ls",
    "graph": "report",
    "why": "explain",
    "check": "doctor",
    "dry-run": "plan",
}
"""Our names for verbs of other programs."""


def _near_verb(word: str) -> str:
    return f"; did you mean {_WORDS[word]!r}?" if word in _WORDS else did_you_mean(word, _VERBS)


def _long_name(param: click.Parameter) -> str:
    """Return the present long name of an option; old names come after it."""
    return next((name for name in param.opts if name.startswith("--")), param.opts[0])


def _near_option(error: click.NoSuchOption, options: list[str]) -> str:
    word, place = _OPTIONS.get(error.option_name), error.option_name.strip("-").upper()
    params = error.ctx.command.params if error.ctx else []
    if any(isinstance(param, Argument) and param.metavar == place for param in params):
        return f"; {place} is written without an option"
    return f"; did you mean {word!r}?" if word in options else did_you_mean(error.option_name, options)


def _sentence(error: click.UsageError) -> str:
    """Return the text of an error of usage, with the nearest valid word."""
    options = (
        [text for param in error.ctx.command.get_params(error.ctx) for text in param.opts]
        if error.ctx
        else []
    )
    if isinstance(error, click.NoSuchOption):
        return f"unknown argument {error.option_name!r}{_near_option(error, options)}"
    if isinstance(error, click.BadOptionUsage):
        return f"{error.option_name}: a value is missing after it"
    if isinstance(error, click.MissingParameter) and error.param is not None:
        param = error.param
        name = param.metavar if isinstance(param, Argument) else _long_name(param)
        return f"{name} is missing"
    if isinstance(error, click.BadParameter) and error.param is not None:
        names = "" if isinstance(error.param, Argument) else f"{_long_name(error.param)}: "
        return f"{names}{error.message.rstrip('.')}"
    if error.message.startswith("Got unexpected extra argument"):
        words = error.message.partition("(")[2].rstrip(")")
        named = ("--step NAME for a step", "--record ID for a record")
        ways = " and ".join(way for way in named if way.partition(" ")[0] in options)
        text = f"these words are too many here: {words}" if " " in words else f"{words!r} has no place here"
        return f"{text}; write {ways}" if ways else text
    return error.message.rstrip(".")
