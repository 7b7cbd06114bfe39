"""File origins: finds which step and run made a file, with which code, parameters and inputs."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, field
from typing import TYPE_CHECKING, Any

import polars as pl

from sinagot_catalog.config import count_of
from sinagot_catalog.diagnostics.explainer import explain
from sinagot_catalog.diagnostics.explanation import File, time_text
from sinagot_catalog.errors import NotFoundError, did_you_mean, row_label
from sinagot_catalog.schema import KEYS
from sinagot_catalog.startup import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from sinagot_catalog.catalog import Catalog, Session

_MADE = ("output", "control")


@dataclass(frozen=True)
class FileOrigin:
    """What made a file. A file that no step makes has readers instead of a step.

    Attributes:
        path: The path, relative to its root.
        role: `output`, `control`, `input`, `data`; None for a file that no pattern matches.
        readers: The steps that read it, if no step makes it.
        event: `done` or `accepted`: the event of the journal that records it, or None.
        code: The hash of the code of the step.
        params: The parameters that the row read.
        record: The metadata columns that the row read.
        inputs: The files that the step reads, as they are now.
        stale: What changed since.
        is_without_record: Whether it fits an input that finds no records, and no other file has its id.
    """

    path: str
    role: str | None
    record_id: str | None = None
    task: str | None = None
    modality: str | None = None
    step: str | None = None
    readers: tuple[str, ...] = ()
    event: str | None = None
    run_id: str | None = None
    host: str | None = None
    time: datetime | None = None
    seconds: float | None = None
    script_version: str | None = None
    workspace_version: str | None = None
    code: str | None = None
    params: dict[str, Any] = field(default_factory=dict)
    record: dict[str, str | None] = field(default_factory=dict)
    inputs: tuple[File, ...] = ()
    stale: tuple[str, ...] | None = None
    is_without_record: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values."""
        return asdict(self)

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def lines(self) -> Iterator[str]:
        """Yield the lines of the text."""
        if self.step is None:
            what = "raw data: no step makes it" if self.readers else "no pattern matches it"
            if self.is_without_record:
                what = "it belongs to no record: its pattern finds no records, and no other file has its id"
            elif self.role and not self.readers:
                what = (
                    "raw data that no step reads now: another alternative of its input comes first, or its group "
                    "leaves the record out"
                )
            yield f"{self.path}: {what}"
            for reader in self.readers:
                yield f"  read by {reader}"
            return
        row = row_label(self.record_id, self.task, self.modality, self.step)
        yield f"{self.path}: {self.role} of {row}"
        if self.event is None or self.time is None:
            yield "  the journal does not name the run that made it"
        else:
            did = "accepted it" if self.event == "accepted" else "made it"
            yield f"  run {self.run_id} on {self.host} {did}, {time_text(self.time)}"
            yield from (f"  {name} {value}" for name, value in self._facts())
        for file in self.inputs:
            size = (
                "absent now" if not file.exists else "" if file.size is None else count_of(file.size, "byte")
            )
            made = f", made by {', '.join(file.made_by)}" if file.made_by else ""
            yield f"  input {file.path}: {size}{made}"
        for change in self.stale or ():
            yield f"  changed since: {change}"

    def _facts(self) -> Iterator[tuple[str, str]]:
        code = {"code": self.code, "VERSION": self.script_version, "[info] version": self.workspace_version}
        yield from ((name, value) for name, value in code.items() if value is not None)
        yield from (
            (f"params.{name}" if name else "params", json.dumps(value)) for name, value in self.params.items()
        )
        yield from (
            (f"record.{name}", "null" if value is None else value) for name, value in self.record.items()
        )


def explain_path(source: Session, path: str) -> FileOrigin:
    """Find what made a file.

    Args:
        source: The session of the workspace.
        path: Relative to the dataset or the outputs, an absolute path, or a URL below them.

    Raises:
        NotFoundError: When the workspace has no such file.
    """
    catalog = source.catalog()
    relative = _relative(source, path)
    parts = relative.split("/")
    around = ["/".join(parts[:end]) for end in range(len(parts), 0, -1)]
    listed = catalog.files.filter(pl.col("path").is_in(around))
    links = _links(catalog, listed["record_id"].drop_nulls().unique(), around)
    made = links.filter(pl.col("role").is_in(_MADE))
    if made.height:
        return _origin(source, relative, made)
    if not listed.height and not links.height:
        near = did_you_mean(relative, catalog.files["path"].to_list())
        raise NotFoundError(f"the workspace has no file {relative!r}{near}")
    readers = [row_label(*row) for row in links.select(*KEYS).unique(maintain_order=True).iter_rows()]
    roles = [*links["role"], *listed.filter(path=relative)["role"].drop_nulls()]
    role = str(roles[0]) if roles else None
    is_alone = relative in catalog.unused.without_record
    return FileOrigin(relative, role, readers=tuple(readers), is_without_record=is_alone)


def _relative(source: Session, path: str) -> str:
    """Return a path relative to its root."""
    roots = sorted({source.config.outputs, source.config.dataset}, key=len, reverse=True)
    for text in (path, os.path.abspath(path)):  # noqa: PTH100 - also for paths that do not exist
        for root in roots:
            if text.startswith(f"{root.rstrip('/')}/"):
                return text[len(root.rstrip("/")) + 1 :].rstrip("/")
    return os.path.normpath(path) if "://" not in path else path


def _links(catalog: Catalog, records: pl.Series, paths: list[str]) -> pl.DataFrame:
    """Return the links of some paths: those of the records that own them, else of all records."""
    for rows in (catalog.steps.filter(pl.col("record_id").is_in(records.implode())), catalog.steps):
        links = catalog.links(rows).filter(pl.col("path").str.strip_suffix("/").is_in(paths))
        if links.filter(pl.col("role").is_in(_MADE)).height or (rows.height and links.height):
            return links
    return links


def _origin(source: Session, path: str, links: pl.DataFrame) -> FileOrigin:
    """Return the origin of an output, from the last event of the rows that make it."""
    events = source.events().filter(pl.col("event").is_in(["done", "accepted"]))
    recorded = events.join(links.select(*KEYS, "role"), on=list(KEYS), how="inner", nulls_equal=True)
    recorded = recorded.sort("claim", "time", maintain_order=True).tail(1)
    row = (recorded if recorded.height else links).row(0, named=True)
    layout = source.layout()
    explained = explain(source, row["record_id"], layout.unit_step(row["step"], row["task"], row["modality"]))
    facts: dict[str, Any] = {}
    if recorded.height:
        names = ("event", "run_id", "host", "time", "seconds", "script_version", "workspace_version", "code")
        facts = {name: row[name] for name in names}
        facts["params"] = json.loads(row["params"] or "{}")
        facts["record"] = dict(row["_record"] or ())
    return FileOrigin(
        path,
        row["role"],
        **{key: row[key] for key in KEYS},
        **facts,
        inputs=tuple(file for file in explained.files if file.role == "input"),
        stale=explained.stale,
    )
