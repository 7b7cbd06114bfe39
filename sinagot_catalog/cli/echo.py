"""Messages: prints to stderr, fits texts to a terminal, and removes characters that could control it."""

import os
import re
import shutil
import sys
from textwrap import wrap
from typing import TextIO

from sinagot_catalog.secrets import masked


def say(*lines: str) -> None:
    """Print messages to stderr; skip empty lines, and discard messages once stderr is closed.

    On a terminal, lines are broken between words, but for those that begin with four spaces.
    """
    try:
        for line in lines:
            if line:
                text = "\n".join(map(_fitted, clean(masked(line)).split("\n")))
                print(text, file=sys.stderr)  # noqa: T201 - this function prints
    except BrokenPipeError:
        sys.stderr = open(os.devnull, "w")  # noqa: PTH123, SIM115 - for the rest of the process


def _fitted(line: str) -> str:
    lead = len(line) - len(line.lstrip())
    return line if lead >= _QUOTED else broken(line, lead + 2, sys.stderr)


def width(stream: TextIO | None = None) -> int | None:
    """The width of the terminal in characters; None if the stream, by default stdout, is not a terminal."""
    return shutil.get_terminal_size().columns if (stream or sys.stdout).isatty() else None


def broken(text: str, indent: int, stream: TextIO | None = None) -> str:
    """Break a text between words so that it fits a terminal; the lines after the first one are indented.

    A command stays whole, so that it can be copied: if there is no room, it gets a line of its own.
    """
    columns = width(stream)
    if columns is None or columns <= indent:
        return text
    room = columns - indent
    lines = (_lines(line, room) if len(line) > room else [line] for line in text.splitlines())
    return "\n".join(("\n" + " " * indent).join(line) for line in lines)


def _lines(line: str, room: int) -> list[str]:
    """Break a line between words, but not in a command: at the end of the line, or in backticks."""
    whole = _COMMAND.sub(lambda match: match[0].replace(" ", "\0"), line.lstrip())
    lead = line[: len(line) - len(line.lstrip())]
    parts = wrap(whole, room, initial_indent=lead, break_long_words=False, break_on_hyphens=False)
    return [part.replace("\0", " ") for part in parts]


_QUOTED = 4
"""The number of leading spaces from which a line is shown unchanged."""
_COMMAND = re.compile(
    r"`[^`]*`|(?<![`(])\b(?:eval \"|sinagot-catalog |prefect (?:deploy|worker|work-pool) ).*"
)
_STEERING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters except tab and newline
    "\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"  # invisible, or changing the direction
    "\ud800-\udfff\U000e0000-\U000e007f]"
)


def clean(text: str) -> str:
    r"""Replace characters that could control the terminal or hide text: names of files may come from other people.

    Example:
        >>> clean("a\x1b[2Jb")
        'a·[2Jb'
    """
    is_plain = text.isascii() and text.replace("\n", "").isprintable()
    return text if is_plain else _STEERING.sub("·", text)
