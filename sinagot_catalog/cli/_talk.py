"""Talk: what a command says beside its result."""

import os
import sys

__all__ = ["clean", "say"]


def say(*lines: str) -> None:
    """Print lines of talk; empty ones are left out, and so is talk that nobody reads any more."""
    try:
        for line in lines:
            if line:
                print(clean(line), file=sys.stderr)  # noqa: T201 - what this is for
    except BrokenPipeError:
        sys.stderr = open(os.devnull, "w")  # noqa: PTH123, SIM115 - for the rest of the process


def clean(text: str) -> str:
    r"""Take out what could steer the terminal: names of files are other people's text.

    Example:
        >>> clean("a\x1b[2Jb")
        'a·[2Jb'
    """
    return "".join(char if char.isprintable() or char in "\n\t" else "·" for char in text)
