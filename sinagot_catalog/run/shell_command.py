"""Commands that are shown to be pasted into a shell."""

import shlex
from collections.abc import Iterable

__all__ = ["shell_join"]


def shell_join(words: Iterable[str]) -> str:
    """Write a command as a shell takes it.

    Args:
        words: The program and its arguments.

    Example:
        >>> print(pasted(["ls", "--where", "record_id = 'R1'", "a folder"]))
        ls --where "record_id = 'R1'" 'a folder'
    """
    return " ".join(map(_quoted, words))


def _quoted(word: str) -> str:
    """A word for the shell; SQL, which is full of single quotes, stays readable."""
    plain = "'" not in word or any(char in word for char in '"$`!' + chr(92))
    return shlex.quote(word) if plain else f'"{word}"'
