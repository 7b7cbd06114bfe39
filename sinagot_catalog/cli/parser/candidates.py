"""Candidates: the values that a shell can complete for an option or an argument.

They are found without Polars and without a full listing: names come from the config, ids from the names in one
folder.
"""

from __future__ import annotations

import glob
import os
import re
from itertools import islice
from typing import TYPE_CHECKING

import click

from sinagot_catalog.patterns import tokens_regex

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sinagot_catalog.catalog import Layout
    from sinagot_catalog.config import Config
    from sinagot_catalog.patterns import IdPattern, Template

_MOST = 500
_CHECKED = 5_000
_LISTED = 50_000


def values_of(param: click.Parameter, ctx: click.Context, beginning: str) -> list[str]:
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
    return list(matches)


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
        depth = next((n for n, part in enumerate(variant.parts, 1) if ("field", "id") in part), None)
        tokens = [token for part in variant.parts[:depth] for token in (("text", "/"), *part)][1:]
        pattern = "".join(glob.escape(value) if kind == "text" else "*" for kind, value in tokens)
        paths = glob.iglob(pattern, root_dir=root)  # noqa: PTH207 - of texts
        fits = map(re.compile(tokens_regex(tokens)).fullmatch, islice(paths, _LISTED))
        for values in (match.groupdict() for match in fits if match):
            if "id" in values:
                yield values["id"]
            elif not isinstance(ids.form, str):
                yield ids.form.write(values)


def _snapshots(config: Config, _beginning: str) -> list[str]:
    return os.listdir(f"{config.log}/snapshots")  # noqa: PTH208 - faster than pathlib


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
