"""`completion`: prints the completion scripts of shells, and the candidates for a word.

The script of each shell only calls this program, so that it stays valid after upgrades. Errors during the
completion of a word are silent, because a shell shows no errors there. `parser.candidates` finds the values of an
option.
"""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import ShellComplete

from sinagot_catalog.cli.echo import clean
from sinagot_catalog.cli.parser.command import Argument, OneOf, verb

if TYPE_CHECKING:
    from collections.abc import Sequence

_BASH = """\
# bash completion of sinagot-catalog
_sinagot_catalog() {
  local word
  COMPREPLY=()
  while IFS= read -r word; do
    COMPREPLY+=("$(printf %q "$word")")
  done < <("${COMP_WORDS[0]}" completion bash "${COMP_WORDS[@]:0:COMP_CWORD+1}" 2>/dev/null)
}
complete -o default -F _sinagot_catalog sinagot-catalog"""
_ZSH = """\
#compdef sinagot-catalog
_sinagot_catalog() {
  local -a told
  told=("${(@f)$("${words[1]}" completion zsh "${(@)words[1,CURRENT]}" 2>/dev/null)}")
  if [[ -n "${told[1]}" ]]; then _describe word told; else _files; fi
}
if [ "$funcstack[1]" = "_sinagot_catalog" ]; then _sinagot_catalog "$@"
else compdef _sinagot_catalog sinagot-catalog; fi"""
_FISH = """\
# fish completion of sinagot-catalog
function __sinagot_catalog
    set -l words (commandline -opc)
    "$words[1]" completion fish $words (commandline -ct) 2>/dev/null
end
complete -c sinagot-catalog -a '(__sinagot_catalog)'"""


@verb(
    "print the script that makes a shell complete verbs, options, ids and steps",
    """
  sinagot-catalog completion bash >> ~/.bashrc
  sinagot-catalog completion zsh > ~/.zfunc/_sinagot-catalog
  sinagot-catalog completion fish > ~/.config/fish/completions/sinagot-catalog.fish""",
    Argument("shell", "bash|zsh|fish", type=OneOf(["bash", "zsh", "fish"])),
    Argument("words", "", nargs=-1, type=click.UNPROCESSED),
)
def completion(args: Any) -> int:
    """Print the script of a shell, or the candidates for the last of the given words."""
    if not args.words:
        print({"bash": _BASH, "zsh": _ZSH, "fish": _FISH}[args.shell])  # noqa: T201 - `put` may import Polars
        return 0
    try:
        lines = [_line(args.shell, word, about) for word, about in offered(args.words[1:])]
    except Exception:  # noqa: BLE001 - a shell that completes a word shows no errors
        lines = []
    for line in lines:
        if clean(line) == line:  # skip names with terminal control characters
            print(line)  # noqa: T201
    return 0


completion.context_settings.update(ignore_unknown_options=True, allow_interspersed_args=False)


def _line(shell: str, word: str, about: str) -> str:
    """Format a candidate with its help for a shell."""
    about = " ".join(about.split())
    if shell == "zsh":
        escaped = word.replace("\\", "\\\\").replace(":", "\\:")
        return f"{escaped}:{about}" if about else escaped
    return f"{word}\t{about}" if about and shell == "fish" else word


def offered(words: Sequence[str]) -> list[tuple[str, str]]:
    """Return the candidates for the last word, each with its help; none if it is a file name.

    Args:
        words: The words after the program's name, as the user typed them.

    Example:
        >>> offered(["expl"])
        [('explain', 'why a step of a record has its status, and what would change it; or what made a file')]
        >>> offered(["ls", "st"])
        [('steps', '')]
        >>> [word for word, _ in offered(["run", "--status", "er"])]
        ['error']
    """
    from sinagot_catalog.cli.parser.app import APP

    *before, last = [_unquoted(word) for word in words] or [""]
    completions = ShellComplete(APP, {}, "sinagot-catalog", "").get_completions(before, last)
    return [
        (item.value, item.help or "")
        for item in completions
        if item.value.startswith(last) and item.value.isprintable() and not re.fullmatch("-.", item.value)
    ]


def _unquoted(word: str) -> str:
    """Return a word without its quotes, if they are complete."""
    try:
        return "".join(shlex.split(word))
    except ValueError:
        return word.strip("'\"")
