"""Explainer: evaluates the rules of `catalog.rules.status_rules` for one row, and what changes its status."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

import polars as pl

from sinagot_catalog.catalog import FOLDER, RULES, Query, stat_paths, with_causes
from sinagot_catalog.config import count_of
from sinagot_catalog.diagnostics.explanation import (
    Attempt,
    Change,
    Explanation,
    File,
    Rule,
    Upstream,
    time_text,
)
from sinagot_catalog.errors import did_you_mean, nearest
from sinagot_catalog.patterns import wild_paths
from sinagot_catalog.schema import KEYS, STEPS, of_key
from sinagot_catalog.storage import as_number

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sinagot_catalog.catalog import Catalog, Session, UnitStep

_NEAR = 5000
_LIKE = 0.75
"""How much alike a name in the folder must be."""


def explain(source: Session, record_id: str, cell: UnitStep) -> Explanation:
    """Explain one row: the step of a record, which may have no file yet."""
    return _Row(source, record_id, cell).explain()


class _Row:
    """One row, with the values that its rules read."""

    def __init__(self, source: Session, record_id: str, cell: UnitStep) -> None:
        self.catalog: Catalog = Query("steps", record=record_id).widened(source.catalog())
        ids = source.catalog().row_ids
        self.near_ids = "" if record_id in ids else did_you_mean(record_id, ids.to_list())
        self.rec, self.cell = int(self.catalog.row_ids.index_of(record_id) or 0), cell
        self.stats, self.events = source.stats, source.events()
        key = {"record_id": record_id, "task": cell.task, "modality": cell.modality, "step": cell.step}
        self.held_by = tuple(source.claims.holders(key))
        self.frame = self._of(cell.index, self.rec)
        self.row = self.frame.row(0, named=True)
        self.links = self.catalog.links(self.frame)

    def _of(self, cell: int, rec: int) -> pl.DataFrame:
        """The row of `steps` of a record and a step with its hidden keys and derived columns, except `stale`."""
        rows = self.catalog.steps.filter(pl.col("_rec") == rec, pl.col("_cell") == cell)
        return self.catalog.steps_with(rows, STEPS.keys() - {"stale"})

    def explain(self) -> Explanation:
        stale = self.stale()
        return Explanation(
            **{key: self.row[key] for key in KEYS},
            status=self.row["status"],
            reason=self.row["reason"],
            rules=tuple(self.rules()),
            files=self.files,
            attempt=self.attempt,
            stale=stale,
            upstream=tuple(self.upstream()),
            held_by=self.held_by,
            changes=tuple(self.changes(stale)),
            needs={name: amount for name, amount in self.cell.resources._asdict().items() if amount},
        )

    # --- files and attempts ------------------------------------------------------------------------------

    @cached_property
    def files(self) -> tuple[File, ...]:
        """The paths that the step reads and writes."""
        out = []
        for link in self.links.iter_rows(named=True):
            stat = self._stat(link["root"], link["path"]) if link["exists"] else {}
            makers = [
                self.catalog.step_name(self.catalog.layout.cells[maker], self.cell)
                for maker in self.catalog.makers_of(link["_place"], self.rec)
                if maker != self.cell.index and link["role"] == "input"
            ]
            time = stat.get("mtime_ns")
            raw = link["role"] == "input" and not makers and not link["exists"]
            out.append(
                File(
                    link["role"],
                    link["label"],
                    link["path"],
                    link["exists"],
                    stat.get("size"),
                    _as_time(time),
                    tuple(makers),
                    self._near(link["root"], link["path"]) if raw else None,
                    link["path"] in self.catalog.listings[link["root"]].dangling,
                    stat.get("count"),
                )
            )
        return (*self._broken_links(), *out)

    def _broken_links(self) -> Iterator[File]:
        """Yield the links to nothing that an input of many files would have."""
        layout, groups = self.catalog.layout, self.catalog.group_steps
        values = self.catalog.row_values.with_row_index("_rec")
        for link in self.cell.linked("input"):
            place = layout.places[link.place]
            listings = [self.catalog.listings[root] for root in place.roots]
            broken = pl.Series([path for listing in listings for path in listing.dangling], dtype=pl.String)
            if not place.template.is_wild or broken.is_empty():
                continue
            codes = pl.Series([self.rec], dtype=pl.UInt32)
            if not layout.is_own(self.cell, [link]):
                codes = groups.members(self.cell).filter(pl.col("_rec") == self.rec)["_member"]
            found = wild_paths(broken, values[codes], place.template, layout.ids)["row"]
            for path in broken.gather(found).unique().sort():
                yield File(
                    "input", link.label, path, exists=False, size=None, modified=None, is_dangling=True
                )

    def _stat(self, root: str, path: str) -> dict[str, Any]:
        paths = pl.DataFrame({"path": [path]})
        return stat_paths(self.catalog, root, paths, self.stats).row(0, named=True)

    def _near(self, root: str, path: str) -> str | None:
        """Return a file in the same folder with a name similar to an absent one."""
        folder, slash, name = path.rpartition("/")
        start = folder + slash
        listed = self.catalog.listings[root].paths["path"]
        beside = listed.filter(listed.str.starts_with(start) & (listed != path)).head(_NEAR)
        near = nearest(name, [other.removeprefix(start) for other in beside], cutoff=_LIKE)
        rows = self.catalog.coded.filter(pl.col("root") == root)["row"]
        # the file of another record is not a near miss
        taken = set(listed.gather(rows)) if near else set[str]()
        return next((start + found for found in near if start + found not in taken), None)

    @cached_property
    def attempt(self) -> Attempt | None:
        """Return the journal's record of the last attempt."""
        event = self.row["_event"]
        if event is None:
            return None
        row = self.row
        ended = "done" if event == "done" else "error"
        endings = self.events.filter(of_key(row, (*KEYS, "run_id")), pl.col("event") == ended).tail(1)
        failure = endings.row(0, named=True) if endings.height and event in ("done", "error", "half") else {}
        fields = ("started", "ended", "seconds", "attempts", "error_type", "message")
        return Attempt(
            event=event,
            run_id=row["run_id"],
            alive=row["run_id"] in self.catalog.alive,
            host=row["host"],
            **{name: row[name] for name in fields},
            traceback=failure.get("traceback"),
            output=failure.get("output"),
        )

    @cached_property
    def causes(self) -> dict[str, Any]:
        """For each cause whether it makes the row stale; see `catalog.rules.staleness`."""
        found: dict[str, Any] | None = self.catalog.stale_causes(self.frame, self.stats)[0]
        return found or {}

    def stale(self) -> tuple[str, ...] | None:
        """Return what changed since a DONE row was done; None for other rows."""
        if self.row["status"] != "DONE":
            return None
        names = ("event", "_inputs", "_script", "_workspace")
        done = self.catalog.with_attempt(self.frame, names).row(0, named=True)
        inputs = [file for file in self.files if file.role == "input"]
        if done["_inputs"] is None or done["event"] not in ("done", "accepted"):
            return tuple(self._newer(inputs))
        params = (self.causes["changes"],) if self.causes.get("params") else ()
        code = ("script changed",) if self.causes.get("code") else ()
        return (*self._changed(done, inputs), *params, *code)

    def _newer(self, inputs: Sequence[File]) -> Iterator[str]:
        """Yield the inputs that are newer than the oldest output."""
        times = [file.modified for file in self.files if file.role == "output" and file.modified]
        for file in inputs:
            if file.modified and times and file.modified > min(times):
                yield f"{file.path} is newer than the oldest output"

    def _changed(self, done: dict[str, Any], inputs: Sequence[File]) -> Iterator[str]:
        versions = (
            ("VERSION of the script", done["_script"], self.cell.version),
            ("[info] version", done["_workspace"], self.catalog.workspace_version),
        )
        for what, then, now in versions:
            if then != now:
                yield f"{what} was {then!r} and is {now!r}"
        ports = self.cell.input_ports
        recorded = [*done["_inputs"], *[None] * len(ports)]
        codes = pl.Series("_rec", [self.rec], dtype=pl.UInt32)
        for port, before in zip(ports, recorded, strict=False):
            present = self.catalog.port_stats(self.cell, codes, port, self.stats).row(0, named=True)
            way = port[self.catalog.chosen_way(port)[self.rec]]
            template = self.catalog.layout.places[way.place].template
            of_members = not self.catalog.layout.is_own(self.cell, port)
            is_many = template.is_wild or of_members
            name = template.text if of_members else self.catalog.paths(way.place)[self.rec]
            if present["size"] is None:  # absent or unreadable
                if port[0].is_optional and before is not None:
                    yield f"{name} was there"
            elif before is None:
                of_folder = [file for file in inputs if file.path == name]
                is_folder = present["is_folder"] and not is_many
                yield from self._newer(of_folder) if is_folder else [f"{name} was not there"]
            elif present["is_folder"] or len(before) == FOLDER:
                yield from _folder_change(name, before, present)
            elif present["size"] != before[0]:
                yield f"{name} had {count_of(before[0], 'byte')} and has {present['size']:,}"
            elif present["mtime_ns"] != before[1]:
                yield f"{name} was changed {time_text(_as_time(present['mtime_ns']))}"

    def upstream(self) -> Iterator[Upstream]:
        """Yield the steps that would make the absent inputs, nearest first, each once."""
        seen, todo = {self.cell.index}, [(self.cell, self.rec)]
        while todo:
            cell, code = todo.pop(0)
            for place in dict.fromkeys(cell.places("input")):
                rec = self._reader_of(cell, place, code)
                if self.catalog.presence[place][rec]:
                    continue
                makers = [index for index in self.catalog.makers_of(place, rec) if index not in seen]
                for index in makers[:1]:
                    seen.add(index)
                    maker = self.catalog.layout.cells[index]
                    path = self.catalog.paths(place)[rec]
                    of_record = self._maker_of(place, index, path, rec)
                    row_code = self.catalog.group_steps.code_of(maker, of_record)
                    if row_code is None:
                        continue
                    todo.append((maker, row_code))
                    row = self._of(index, row_code).row(0, named=True)
                    name = self.catalog.step_name(maker, self.cell)
                    yield Upstream(row["record_id"], name, row["status"], row["reason"], path or "")

    def _reader_of(self, cell: UnitStep, place: int, code: int) -> int:
        """Return the record or group that has an input: of a group's members the first that is not there."""
        ports = self.catalog.group_steps.member_ports(cell)
        if not any(link.place == place for port in ports for link in port):
            return code
        first = self.catalog.group_steps.states(cell).sums["first"][code]
        return code if first is None else int(first)

    def _maker_of(self, place: int, cell: int, path: str, rec: int) -> int:
        """Return the record whose step makes a path: mostly this one, or another record that shares the path."""
        for made, maker in self.catalog.layout.near.get(place, []):
            if maker == cell and len(found := (self.catalog.paths(made) == path).arg_true()):
                return int(found[0])
        return rec

    # --- rules -------------------------------------------------------------------------------------------

    @cached_property
    def _causes(self) -> pl.DataFrame:
        """The row with the columns that the sentences of the rules read."""
        return with_causes(self.catalog, self.frame, self.catalog.unreadable)

    def rules(self) -> Iterator[Rule]:
        """Yield the rules in order; rules after the first that holds are not evaluated."""
        is_decided = False
        for rule in RULES:
            text, evidence = self._causes.select(text=rule.text, evidence=rule.evidence).row(0)
            holds = None if is_decided else rule.name == self.row["_rule"]
            is_decided = is_decided or bool(holds)
            evidence = "" if holds is None else evidence or ""
            yield Rule(rule.number, rule.name, text, rule.status, holds, evidence)

    # --- changes -----------------------------------------------------------------------------------------

    def changes(self, stale: tuple[str, ...] | None) -> Iterator[Change]:
        """Yield the changes that would give the row another status."""
        rule = next(rule for rule in RULES if rule.name == self.row["_rule"])
        if self.held_by and not rule.is_fixed:
            yield Change(f"the end of run {', '.join(self.held_by)}")
            return
        if rule.status == "DONE":
            yield from self._remaking(stale)
        elif not rule.is_fixed:
            yield from self._appearing_inputs()
        for remedy in rule.remedies:
            text, is_true = self._causes.select(text=remedy.text, where=remedy.where).row(0)
            if is_true:
                yield Change(text, None if remedy.run is None else dict(remedy.run))
        if rule.status != "DONE" and rule.name != "half_published" and not rule.is_fixed:
            absent = [file.path for file in self.files if file.role == "output" and not file.exists]
            if absent:
                yield Change(f"it is DONE, too, when another program writes {', '.join(absent)}")

    def _remaking(self, stale: tuple[str, ...] | None) -> Iterator[Change]:
        """Yield what makes a DONE row run again, or not DONE any more, besides a forced run."""
        if stale:
            is_code = not any(self.causes.get(name) for name in ("input", "version", "params"))
            yield Change(
                "it is stale: a run with --stale makes it again", {"stale": "code" if is_code else True}
            )
        outputs = [file.path for file in self.files if file.role == "output"]
        if outputs:
            yield Change(f"removing {outputs[0]}")

    def _appearing_inputs(self) -> Iterator[Change]:
        """Yield what brings the absent inputs of a row that is not done."""
        if self.row["n_inputs_found"] == self.row["n_inputs"]:
            return
        first = [step for step in self.upstream() if step.status == "DATA_READY"]
        if first:
            is_one = {step.record_id for step in first} == {self.row["record_id"]}
            names = ", ".join(step.step for step in first)
            yield Change(
                f"a run {'of the record' if is_one else 'with --upstream'} makes {names} first",
                {"whole_record": True} if is_one else {"upstream": True},
            )
        if self.near_ids:
            yield Change(f"another id: no file names {self.row['record_id']!r}{self.near_ids}")
        soft = {port[0].label for port in self.cell.input_ports if port[0].is_optional}
        for file in self.files:
            if file.role == "input" and not file.exists and file.label not in soft:
                yield Change(_appearing(file))


def _as_time(mtime_ns: int | None) -> datetime | None:
    return None if mtime_ns is None else datetime.fromtimestamp(mtime_ns / 1e9, UTC)


def _folder_change(name: str, before: Sequence[int], now: dict[str, Any]) -> Iterator[str]:
    """Yield how a folder differs from its recorded state."""
    if not now["is_folder"]:
        yield f"{name} was a folder and is a file"
    elif len(before) != FOLDER:
        yield f"{name} was a file and is a folder"
    elif as_number(now["etag"]) != before[2]:
        then = f"{count_of(before[1], 'file')} ({count_of(before[0], 'byte')})"
        if now["count"] is not None and (now["size"], now["count"]) != (before[0], before[1]):
            yield f"{name} had {then} and has {count_of(now['count'], 'file')} ({count_of(now['size'], 'byte')})"
        else:
            yield f"files in {name} were changed: it had and has {then}"


def _appearing(file: File) -> str:
    if file.made_by:
        return f"{file.path} appearing, which {' or '.join(file.made_by)} makes"
    near = f" (there is {file.near}: is that it?)" if file.near else ""
    return f"{file.path} appearing, which no step makes{near}"
