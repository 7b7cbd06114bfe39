"""Shell commands: quotes the commands that messages show, so that the user can paste them into a shell."""

import shlex
from collections.abc import Iterable


def shell_join(words: Iterable[str]) -> str:
    """Join words to a command that a shell reads back as the same words.

    Args:
        words: The program and its arguments.

    Example:
        >>> print(shell_join(["ls", "--where", "record_id = 'R1'", "a folder"]))
        ls --where "record_id = 'R1'" 'a folder'
    """
    return " ".join(map(_quoted, words))


def _quoted(word: str) -> str:
    """Quote a word for the shell; with double quotes if possible for SQL, which has many single quotes."""
    plain = "'" not in word or any(char in word for char in '"$`!' + chr(92))
    return shlex.quote(word) if plain else f'"{word}"'
