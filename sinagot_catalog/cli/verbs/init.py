"""`init`: creates a new workspace that works."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sinagot_catalog.cli.echo import say
from sinagot_catalog.cli.examples import harbor_files, write_harbor
from sinagot_catalog.cli.output import put, say_note
from sinagot_catalog.cli.parser.command import Argument, Option, flag, verb
from sinagot_catalog.cli.workspace_args import place_of
from sinagot_catalog.config import count_of
from sinagot_catalog.diagnostics import find_records, id_forms, list_files, no_records, workspace_files
from sinagot_catalog.errors import ConfigError, not_written

_KINDS = 4
_RECORDINGS = {
    "dataset/raw/REC-001.csv": "time,value\n10:00,1.5\n10:01,1.7\n10:02,1.6\n",
    "dataset/raw/REC-002.csv": "time,value\n09:30,2.1\n09:31,2.0\n",
}

_PREFECT = """\
# What `prefect deploy --all` deploys; `sinagot-catalog deploy` does the same without this file.
# A worker needs sinagot-catalog, and the workspace at the address below. Nothing secret belongs here.
name: {name}

# The flow is part of the installed package: there is no code to pull.
pull: []

deployments:
  - name: nightly
    entrypoint: sinagot_catalog.flows.run_workspace
    parameters:
      workspace: {workspace}
      where: status = 'DATA_READY'
      # Also what becomes ready by the run: a chain of steps is done in one night.
      downstream: true
    schedules:
      - cron: "0 2 * * *"
        timezone: UTC
    # Also when files have come: prefect event emit files-came --resource-id NAME
    # triggers:
    #   - expect: [files-came]
    #     match: {{prefect.resource.id: {name}}}
    concurrency_limit: 1
    tags: [sinagot-catalog]
    work_pool:
      # Made by: prefect work-pool create local --type process
      name: local
"""


@verb(
    "make a workspace to start from; nothing is ever overwritten",
    """
  sinagot-catalog init                      a small one, here
  sinagot-catalog init harbor --example     a month of a harbour's boats, with three scripts
  sinagot-catalog init --from-files 'raw/{id}-raw.csv'     around the files of this folder (or of ./dataset)
  sinagot-catalog init --from-files 'images/{date}/{shot}.png'    the same with fields of an id
  sinagot-catalog init --prefect            with a prefect.yaml; in an existing workspace only that""",
    Argument("place", "DIR", required=False, about="where; by default here"),
    Option("-C", "--workspace", metavar="DIR", help="the same as an option"),
    flag("--example", help="the harbour example with its data"),
    Option(
        "--from-files",
        metavar="PATTERN",
        help="propose an id_pattern from existing files; {id} is the id, or names such as {day} and {ses?} are its "
        "fields; also {task} and {modality}",
    ),
    flag("--prefect", help="also a prefect.yaml, for `prefect deploy --all` to deploy"),
)
def init(args: Any) -> int:
    """Write a new workspace into a folder without one."""
    folder = Path(place_of(args, "folder") or ".")
    try:
        if args.prefect:
            _check_free(folder, ["prefect.yaml"])
        if args.prefect and (folder / "workspace.toml").is_file() and not (args.from_files or args.example):
            pass  # the file exists
        elif args.from_files:
            _around_files(folder, args.from_files)
        elif args.example:
            _check_free(folder, [*harbor_files(), "dataset/raw"])
            write_harbor(folder)
        elif not (folder / "workspace.toml").exists() and (own := _own_files(folder)):
            _beside_files(folder, own)
            return 0
        else:
            _check_free(folder, ["workspace.toml", "scripts/count.py", *_RECORDINGS])
            _write_all(folder, _RECORDINGS)
            _write_all(folder, workspace_files(find_records(folder, "raw/{id}.csv"), "count"))
        if args.prefect:
            _write_all(folder, {"prefect.yaml": _prefect_yaml(folder.resolve())})
    except OSError as error:
        raise not_written(error.filename or folder, error, "name another folder") from error
    put(f"made {folder.resolve()}")
    place = shlex.join(["cd", str(folder)]) + " && " if folder.resolve() != Path.cwd() else ""
    say(f"next: {place}sinagot-catalog status && sinagot-catalog run")
    if args.prefect:
        from sinagot_catalog.flows import of_prefect

        say("or on Prefect workers (see prefect.yaml):", f"  {place}{of_prefect('prefect deploy --all')}")
    return 0


def _prefect_yaml(folder: Path) -> str:
    # JSON texts are valid YAML, for any name of the folder.
    return _PREFECT.format(name=json.dumps(folder.name), workspace=json.dumps(str(folder)))


def _own_files(folder: Path) -> list[str]:
    """Return the files of a folder that are not part of a workspace."""
    if not folder.is_dir():
        return []
    files = list_files(folder)
    return [file for file in files if not file.startswith((".", "scripts/")) and file != "prefect.yaml"]


def _beside_files(folder: Path, own: list[str]) -> None:
    """Write a config next to existing files; the user decides which of them are recordings."""
    _check_free(folder, ["workspace.toml"])
    _write_all(folder, {"workspace.toml": _empty_toml("dataset" if (folder / "dataset").is_dir() else ".")})
    put(f"made {(folder / 'workspace.toml').resolve()}")
    where = "" if folder.resolve() == Path.cwd() else f" {shlex.quote(str(folder))}"
    n_files = count_of(len(own), "file")
    say(
        f"{folder.resolve()} holds {n_files} already, such as {own[0]}: no recordings were made",
        "next: name the recordings by a pattern, with {id} or fields such as {day} where their names differ:",
        f"  sinagot-catalog init{where} --from-files {shlex.quote(_likely(own))}",
    )


def _empty_toml(dataset: str) -> str:
    return workspace_files(no_records(dataset))["workspace.toml"]


def _likely(files: list[str]) -> str:
    """Return a pattern for the most frequent kind of file: same depth, same suffix; with a field for each folder.

    Example:
        >>> _likely(["raw/a.csv", "raw/b.csv", "notes.txt"])
        'raw/{id}.csv'
        >>> _likely(["dataset/raw/ann/day-1/a.csv", "dataset/raw/bob/day-2/a.csv", "notes.txt"])
        'raw/{folder1}/{folder2}/{name}.csv'
    """
    kinds = Counter((file.count("/"), Path(file).suffix) for file in files)
    (depth, suffix), _ = kinds.most_common(1)[0]
    paths = [
        file.removeprefix("dataset/").split("/")[:-1]
        for file in files
        if (file.count("/"), Path(file).suffix) == (depth, suffix)
    ]
    folders = [set(names) for names in zip(*paths, strict=False)]
    n_fields = sum(len(names) > 1 for names in folders)
    numbers = iter(range(1, n_fields + 1) if n_fields > 1 else [""])
    parts = [names.pop() if len(names) == 1 else f"{{folder{next(numbers)}}}" for names in folders]
    return "/".join([*parts, f"{{{'name' if n_fields else 'id'}}}{suffix}"])


def _around_files(folder: Path, pattern: str) -> None:
    """Write a workspace around existing files, which are only read."""
    toml = folder / "workspace.toml"
    untouched = map(_empty_toml, (".", "dataset"))
    is_empty = toml.is_file() and toml.read_text(encoding="utf-8") in untouched
    _check_free(folder, [] if is_empty else ["workspace.toml"])
    scan = find_records(folder, pattern)
    files, ids = workspace_files(scan), scan.ids
    _check_free(folder, [name for name in files if name != "workspace.toml"])
    if is_empty:
        toml.unlink()
    _write_all(folder, files)
    some = ", ".join(ids[:3]) + (" …" if len(ids) > 3 else "")  # noqa: PLR2004 - examples
    say(
        f"{count_of(len(ids), 'record')}: {some}",
        f"id_pattern = {scan.id_pattern}   (a proposal: see workspace.toml)",
    )
    for name in ("task", "modality"):
        if values := scan.values(name):
            say(f"{name}: {', '.join(values)}")
    if scan.metadata:
        say(f"metadata = {scan.metadata}: its columns are columns of the records")
    if scan.dataset == ".":
        say(
            "results (lines), the journal (LOG) and scripts go beside the files; see [path] in workspace.toml"
        )
    kinds = id_forms(ids) if "id" in scan.template.fields else []
    if len(kinds) > 1:
        forms = ", ".join(f"{example} ({count} like it)" for example, count in kinds[:_KINDS])
        say_note(f"they have {len(kinds)} forms: {forms}; write id_pattern so that only records fit it")


def _check_free(folder: Path, names: Any) -> None:
    """Refuse to overwrite an existing file."""
    there = [name for name in names if (folder / name).exists()]
    if there:
        raise ConfigError(
            f"{folder / there[0]} is there already, and nothing is overwritten",
            "Edit it, or remove it first. Or name another folder: sinagot-catalog init DIR",
        )


def _write_all(folder: Path, files: Mapping[str, str]) -> None:
    """Write new files, texts by file name."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        with (folder / name).open("x", encoding="utf-8") as file:
            file.write(text)
