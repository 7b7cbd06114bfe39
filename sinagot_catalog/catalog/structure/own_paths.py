"""Own paths: the files and folders that a workspace itself consists of. No output of a step may replace them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from sinagot_catalog.storage import is_url

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sinagot_catalog.catalog.structure.layout import Layout
    from sinagot_catalog.config import Config


class OwnPath(NamedTuple):
    """A file or folder of the workspace.

    Attributes:
        path: Its full path or URL, links of its folders resolved, without empty parts.
        is_folder: Whether an output inside it is refused too.
        what: What it is, to follow "is", "holds" or "lies in".
        advice: What to write instead, if not just another path.
    """

    path: str
    is_folder: bool
    what: str
    advice: str = "Write to another path."


def own_paths(config: Config, layout: Layout) -> tuple[OwnPath, ...]:
    """List the config, its tables, the scripts and the `LOG` folder of a workspace.

    A scripts folder around the outputs does not count as a whole, only the script of each step.
    """
    log = OwnPath(
        _resolved(config.log, is_folder=True),
        is_folder=True,
        what="the LOG folder, which is never data",
        advice="Write to another folder, or name another one as path.log.",
    )
    outputs = _resolved(config.outputs, is_folder=True)
    scripts = _resolved(config.scripts, is_folder=True)
    folders = [log]
    if scripts.startswith(f"{outputs}/"):
        folders.append(OwnPath(scripts, is_folder=True, what="the scripts folder"))
    return (*folders, *(OwnPath(_resolved(path), False, what) for path, what in _files(config, layout)))


def _files(config: Config, layout: Layout) -> Iterator[tuple[str, str]]:
    """The files of a workspace, each with what it is."""
    yield from ((path, "the config of the workspace") for path in config.files)
    if config.exclude is not None:
        yield config.exclude, "the table of excluded records"
    yield from ((table.path, "a table of records.metadata") for table in config.metadata)
    for modality, declared in config.modalities.items():
        if path := declared.models.table_path:
            yield f"{config.dataset}/{path}", f"the table of modality {modality}"
    scripts = {cell.script: cell.step for cell in layout.cells if cell.command is None}
    yield from ((path, f"the script of step {step}") for path, step in scripts.items())


def _resolved(path: str, *, is_folder: bool = False) -> str:
    """A full path with the links of its folders resolved; empty parts are left out, as in a located pattern."""
    if not is_url(path):
        folder, name = (path, "") if is_folder else os.path.split(path)
        path = f"{os.path.realpath(folder)}/{name}"
    return "/".join(part for part in path.split("/") if part)
