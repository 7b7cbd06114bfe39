"""Messages: prints to stderr, and removes characters that could control the terminal."""

import os
import re
import sys

from sinagot_catalog.secrets import masked


def say(*lines: str) -> None:
    """Print messages to stderr; skip empty lines, and discard messages once stderr is closed."""
    try:
        for line in lines:
            if line:
                print(clean(masked(line)), file=sys.stderr)  # noqa: T201 - this function prints
    except BrokenPipeError:
        sys.stderr = open(os.devnull, "w")  # noqa: PTH123, SIM115 - for the rest of the process


_STEERING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters except tab and newline
    "\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"  # invisible, or changing the direction
    "\ud800-\udfff\U000e0000-\U000e007f]"
)


def clean(text: str) -> str:
    r"""Replace characters that could control the terminal or hide text: other people may choose the names of files.

    Example:
        >>> clean("a\x1b[2Jb")
        'a·[2Jb'
    """
    is_plain = text.isascii() and text.replace("\n", "").isprintable()
    return text if is_plain else _STEERING.sub("·", text)
