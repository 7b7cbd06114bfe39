"""The journal and the claims where they lie in a bucket: no append, no rename, and perhaps no create-only put."""

import io
import json
from datetime import UTC, datetime

import polars as pl

from sinagot_catalog._journal import (
    LINE_EVENTS,
    SCHEMA,
    Claim,
    Claims,
    Journal,
    from_lines,
    from_seed,
    is_seed_log,
)
from sinagot_catalog._spool import PIECE
from sinagot_catalog._store import Store
from sinagot_catalog.errors import StorageError

__all__ = ["ObjectClaims", "ObjectJournal"]

_COMPACT_FROM = 100


class ObjectJournal(Journal):
    """Reads the pieces that runs sent, each once; they are never written again.

    Args:
        store: The `LOG` folder.
    """

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self._known: dict[str, dict[str, int]] = {}
        self._frames: dict[str, list[pl.DataFrame]] = {}
        self._seeds: dict[str, tuple[int | None, pl.DataFrame]] = {}

    def _events(self) -> pl.DataFrame:
        found = self.store.tree("")
        merged, frames = self._compacted_of(found)
        frames += self._of_runs(_pieces(found, merged))
        frames += self._of_seed({path: size for path, size in found.items() if is_seed_log(path)})
        return pl.concat([pl.DataFrame(schema=LINE_EVENTS), *frames]).sort("time", maintain_order=True)

    def _compacted_of(self, found: dict[str, int | None]) -> tuple[set[str], list[pl.DataFrame]]:
        names = [path.removeprefix("journal/") for path in found if _is_compact(path)]
        self._merged = {name: self._merged.get(name) or self._read_compacted(name) for name in names}
        merged = {name for replaced, _ in self._merged.values() for name in replaced}
        return merged, [frame for name, (_, frame) in self._merged.items() if name not in merged]

    def _of_runs(self, runs: dict[str, list[str]]) -> list[pl.DataFrame]:
        """The events of runs; of pieces that overlap, what was read already is cut off."""
        for gone in set(self._known) - set(runs):
            del self._known[gone], self._frames[gone]
        new = {
            path: run
            for run, paths in runs.items()
            for path in paths
            if (piece := _parsed(path)) is None or piece[2] > self._known.get(run, {}).get(piece[0], 0)
        }
        lines: dict[str, list[bytes]] = {}
        for (path, run), content in zip(new.items(), self.store.read_all(list(new)), strict=True):
            known = self._known.setdefault(run, {})
            name, start, end = _parsed(path) or (path, 0, len(content))
            lines.setdefault(run, []).append(content[max(0, known.get(name, 0) - start) :])
            known[name] = max(known.get(name, 0), end)
        for run, parts in lines.items():
            self._frames.setdefault(run, []).append(from_lines(b"".join(parts)))
        return [frame for run in sorted(self._frames) for frame in self._frames[run]]

    def _of_seed(self, found: dict[str, int | None]) -> list[pl.DataFrame]:
        """The lines of sinagot itself, which appends to files of its own."""
        new = [path for path, size in found.items() if self._seeds.get(path, (None,))[0] != size]
        for path, content in zip(new, self.store.read_all(new), strict=True):
            self._seeds[path] = found[path], from_seed(content)
        return [self._seeds[path][1] for path in found]

    def compact(self, alive: frozenset[str], *, least: int = _COMPACT_FROM) -> bool:
        """Merge the pieces of ended runs into one object, where there are many."""
        found = self.store.tree("journal")
        if len(found) < least:
            return False
        merged, frames = self._compacted_of(found)
        old = [path for path in found if _is_compact(path)]
        pieces = _pieces(found, merged | alive)
        paths = [path for several in pieces.values() for path in several]
        if len(paths) < least:
            return False
        own = ObjectJournal(self.store)
        frames += own._of_runs(pieces)
        content = io.BytesIO()
        replaced = sorted({*pieces, *merged, *(path.removeprefix("journal/") for path in old)})
        pl.concat(frames).sort("time", maintain_order=True).write_parquet(
            content, metadata={"merged": json.dumps(replaced), "schema": str(SCHEMA)}
        )
        number = 1 + max((int(path.rpartition("-")[2].partition(".")[0]) for path in old), default=0)
        if not self.store.create(f"journal/compact-{number:08d}.parquet", content.getvalue()):
            return False
        left = [path for path in found if path.split("/")[1] in merged and path.count("/") > 1]
        self.store.delete([*paths, *left, *old])
        return True


def _is_compact(path: str) -> bool:
    return path.startswith("journal/compact-") and path.endswith(".parquet")


def _pieces(found: dict[str, int | None], without: set[str] | frozenset[str]) -> dict[str, list[str]]:
    """The pieces of each run, those of one process in the order of their bytes."""
    runs: dict[str, list[str]] = {}
    for path in found:
        parts = path.split("/")
        if len(parts) == 3 and parts[0] == "journal" and path.endswith(".ndjson") and parts[1] not in without:  # noqa: PLR2004
            runs.setdefault(parts[1], []).append(path)
    return {run: sorted(paths) for run, paths in runs.items()}


def _parsed(path: str) -> tuple[str, int, int] | None:
    """Whose bytes a piece holds, from where to where; None for a file that was copied here whole."""
    piece = PIECE.fullmatch(path.rpartition("/")[2])
    return None if piece is None else (piece["name"], int(piece["start"]), int(piece["end"]))


class ObjectClaims(Claims):
    """Claims in a bucket.

    Ages are told by the store's own clock. Where the store lacks create-only puts, a second live writer is
    refused: what cannot be done at once is not emulated.
    """

    def take(self, run_id: str, rows: pl.DataFrame) -> tuple[Claim, pl.DataFrame]:
        """Claim rows for a run; see `Claims.take`."""
        if not self.store.can_create("claims"):
            others = [one.run_id for one in self.all() if self.is_alive(one)]
            if others:
                raise StorageError(
                    f"run {others[0]} is at work in {self.store.root}, and this store cannot keep two runs apart",
                    "Wait for its end, or set [path] log to a store with create-only puts.",
                )
        return super().take(run_id, rows)

    def _now(self, run_id: str | None) -> float:
        """The time by the clock that beats are told by: that of the beat just written, where there is one."""
        beat = self.store.stat([f"claims/{run_id}.beat"]).modified[0] if run_id else None
        return datetime.now(UTC).timestamp() if beat is None else beat / 1e9
