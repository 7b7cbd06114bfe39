"""`completion`: scripts that make a shell complete verbs and options."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sinagot_catalog.cli._out import put
from sinagot_catalog.cli._parser import words

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["completion"]


def completion(args: Any) -> int:
    """Print the script for one shell."""
    put("\n".join({"bash": _bash, "zsh": _zsh, "fish": _fish}[args.shell]()))
    return 0


def _bash() -> Iterator[str]:
    verbs = words()
    yield "# bash completion of sinagot-catalog"
    yield "_sinagot_catalog() {"
    yield '  local word="${COMP_WORDS[COMP_CWORD]}" verb="" one'
    yield '  for one in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do'
    yield f'    case "$one" in {"|".join(verbs)}) verb="$one"; break ;; esac'
    yield "  done"
    yield '  case "$verb" in'
    yield f'    "") COMPREPLY=($(compgen -W "{" ".join(verbs)} --help --version" -- "$word")) ;;'
    for name, (_, options) in verbs.items():
        told = " ".join(option for option, _ in options)
        yield f'    {name}) COMPREPLY=($(compgen -W "{told}" -- "$word")) ;;'
    yield "  esac"
    yield '  [[ "$word" != -* ]] && COMPREPLY+=($(compgen -f -- "$word"))'
    yield "}"
    yield "complete -o filenames -F _sinagot_catalog sinagot-catalog"


def _zsh() -> Iterator[str]:
    verbs = words()
    yield "#compdef sinagot-catalog"
    yield "_sinagot_catalog() {"
    yield "  local -a verbs=("
    yield from (f"    {_quoted(f'{name}:{_line(about)}')}" for name, (about, _) in verbs.items())
    yield "  )"
    yield "  if (( CURRENT == 2 )); then _describe 'verb' verbs; return; fi"
    yield '  case "${words[2]}" in'
    for name, (_, options) in verbs.items():
        told = " ".join(_quoted(f"{option}:{_line(about)}") for option, about in options)
        yield f"    {name}) local -a told=({told}); _describe 'option' told; _files ;;"
    yield "  esac"
    yield "}"
    yield 'if [ "$funcstack[1]" = "_sinagot_catalog" ]; then _sinagot_catalog "$@"; '
    yield "else compdef _sinagot_catalog sinagot-catalog; fi"


def _fish() -> Iterator[str]:
    yield "# fish completion of sinagot-catalog"
    for name, (about, options) in words().items():
        yield (f"complete -c sinagot-catalog -n __fish_use_subcommand -a {name} -d {_quoted(_line(about))}")
        for option, told in options:
            flag = f"-l {option[2:]}" if option.startswith("--") else f"-a {option}"
            seen = _quoted(f"__fish_seen_subcommand_from {name}")
            yield f"complete -c sinagot-catalog -n {seen} {flag} -d {_quoted(_line(told))}"


def _line(text: str) -> str:
    """A help text on one line, without what a shell's list would split at."""
    return " ".join(text.replace(":", " -").replace("%%", "%").split())


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "`") + "'"
