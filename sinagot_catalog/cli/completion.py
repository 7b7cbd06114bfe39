"""`completion`: prints the completion scripts of shells, and the candidates for a word.

The script of each shell only calls this program, so that it stays valid after upgrades. Candidates are found
without Polars and without a full listing: names come from the config, ids from the names in one folder. Errors
during the completion of a word are silent, because a shell shows no errors there.
"""

from __future__ import annotations

import os
import re
import shlex
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem, ShellComplete

from sinagot_catalog.cli.command import Argument, one_of, verb
from sinagot_catalog.cli.echo import clean
from sinagot_catalog.patterns import tokens_regex

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from sinagot_catalog.catalog import Layout
    from sinagot_catalog.config import Config
    from sinagot_catalog.patterns import IdPattern, Template

_MOST = 500
_CHECKED = 5_000
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
    Argument("shell", "bash|zsh|fish", type=one_of("bash", "zsh", "fish")),
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
    from sinagot_catalog.cli.app import APP

    *before, last = [_unquoted(word) for word in words] or [""]
    completions = ShellComplete(APP, {}, "sinagot-catalog", "").get_completions(before, last)
    return [
        (item.value, item.help or "")
        for item in completions
        if item.value.startswith(last) and item.value.isprintable() and not re.fullmatch("-.", item.value)
    ]


def values_of(param: click.Parameter, ctx: click.Context, beginning: str) -> list[CompletionItem]:
    """Return the candidates for the value of an option or an argument."""
    from sinagot_catalog.config import nearest, read_config
    from sinagot_catalog.status import StepStatus

    if isinstance(param.type, click.Choice):
        matches: Iterable[str] = map(str, param.type.choices)
    elif param.name == "status":
        names = [status.name for status in StepStatus]
        matches = iter([name.lower() for name in names] if beginning.islower() else names)
    elif (find := _FINDERS.get(param.name or "")) is None:
        return []
    else:
        given = {**(ctx.parent.params if ctx.parent else {}), **{k: v for k, v in ctx.params.items() if v}}
        place = given.get("workspace") or given.get("place") or nearest()
        matches = find(read_config(os.path.expanduser(place)), beginning) if place else iter(())  # noqa: PTH111
    return [CompletionItem(value) for value in matches]


def _unquoted(word: str) -> str:
    """Return a word without its quotes, if they are complete."""
    try:
        return "".join(shlex.split(word))
    except ValueError:
        return word.strip("'\"")


# --- ids of a workspace ----------------------------------------------------------------------------------------


def _layout(config: Config) -> Layout:
    from sinagot_catalog.catalog import build_layout
    from sinagot_catalog.scripts import read_script

    return build_layout(config, lambda script: read_script(script, scripts=config.scripts))


def _ids(config: Config, beginning: str) -> list[str]:
    """Return the ids with this beginning; if there are very many, only their next characters."""
    layout = _layout(config)
    ids: set[str] = set()
    for place in layout.raw:
        template = layout.places[place].template
        if place in layout.telling:
            names = _in_names(config.dataset, template, layout.ids)
            ids.update(record_id for record_id in names if record_id.startswith(beginning))
    if len(ids) <= _CHECKED:
        ids = {record_id for record_id in ids if layout.ids.values(record_id) is not None}
    if len(ids) <= _MOST:
        return sorted(ids)
    first, last = min(ids), max(ids)
    size = next(n for n in range(len(last) + 1) if first[: n + 1] != last[: n + 1]) + 1
    return sorted({record_id[:size] for record_id in ids})


def _in_names(root: str, template: Template, ids: IdPattern) -> Iterator[str]:
    """Yield the ids in the names of folders and files: from the first part with `{id}`, or from its fields."""
    for variant in template.variants.values():
        matches: list[tuple[str, dict[str, str]]] = [(root, {})]
        for part in variant.parts:
            if all(kind == "text" for kind, _ in part):
                matches = [(f"{folder}/{part[0][1]}", values) for folder, values in matches]
                continue
            deeper = []
            for folder, values in matches[:_MOST]:
                tokens = [
                    ("text", values[token]) if kind != "text" and token in values else (kind, token)
                    for kind, token in part
                ]
                fits = map(re.compile(tokens_regex(tokens, ".+")).fullmatch, _listed(folder))
                deeper += [(f"{folder}/{match[0]}", values | match.groupdict()) for match in fits if match]
            matches = deeper
            if ("field", "id") in part:
                break
        form = ids.form
        for _, values in matches:
            if "id" in values:
                yield values["id"]
            elif not isinstance(form, str):
                yield form.write(values)


def _listed(folder: str) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208 - faster than pathlib
    except OSError:
        return []


def _snapshots(config: Config, _beginning: str) -> list[str]:
    return _listed(f"{config.log}/snapshots")


_FINDERS = {
    "record": _ids,
    "records": _ids,
    "label": lambda config, _: _layout(config).steps,
    "step": lambda config, _: _layout(config).steps,
    "task": lambda config, _: list(config.tasks),
    "modality": lambda config, _: list(config.modalities),
    "by": lambda config, _: ["step", "status", "task", "modality", *config.ids.groups],
    "before": _snapshots,
    "after": _snapshots,
}  # fmt: skip
