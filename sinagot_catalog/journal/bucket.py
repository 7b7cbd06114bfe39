"""Journal and claims in a bucket: reads the uploaded pieces of journals, and takes claims for runs.

A bucket has no append and no rename, and some stores have no create-only put. `journal.upload` describes the pieces
in which journals arrive; `journal.reader` and `journal.claims` describe the protocols.
"""

from collections.abc import Callable, Iterable, Sequence

import polars as pl

from sinagot_catalog.errors import StorageError
from sinagot_catalog.journal.claims import Claim, Claims
from sinagot_catalog.journal.event_lines import LINE_EVENTS, from_lines
from sinagot_catalog.journal.reader import Journal
from sinagot_catalog.journal.seed_log import from_seed, is_seed_log
from sinagot_catalog.journal.upload import is_read, unread_part
from sinagot_catalog.storage import Store


class ObjectJournal(Journal):
    """Reads the pieces of journals that runs uploaded. A piece never changes, so each is read once.

    Args:
        store: The `LOG` folder.
    """

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self._known: dict[str, dict[str, int]] = {}
        self._frames: dict[str, list[pl.DataFrame]] = {}

    def _events(self) -> pl.DataFrame:
        sizes = self.store.tree("")
        merged, frames = self.compacted(path.removeprefix("journal/") for path in sizes)
        seed = {path: size for path, size in sizes.items() if is_seed_log(path)}
        frames = [
            *frames,
            *self._of_runs(_pieces(sizes, merged)),
            *self.read_files(list(seed), from_seed, list(seed.values())),
        ]
        return pl.concat([pl.DataFrame(schema=LINE_EVENTS), *frames]).sort("time", maintain_order=True)

    def of_runs(self, runs: Iterable[str]) -> pl.DataFrame | None:  # noqa: ARG002 - the signature of `Journal`
        """Return None: only a listing of all pieces shows which of them overlap."""
        return None

    def _of_runs(self, runs: dict[str, list[str]]) -> list[pl.DataFrame]:
        """The events of runs. Bytes that an earlier piece already held are skipped."""
        for gone in set(self._known) - set(runs):
            del self._known[gone], self._frames[gone]
        new = {
            path: run
            for run, paths in runs.items()
            for path in paths
            if not is_read(path, self._known.get(run, {}))
        }
        lines: dict[str, list[bytes]] = {}
        for (path, run), content in zip(new.items(), self.store.read_all(list(new)), strict=True):
            unread = unread_part(path, content, self._known.setdefault(run, {}))
            lines.setdefault(run, []).append(unread)
        for run, parts in lines.items():
            self._frames.setdefault(run, []).append(from_lines(b"".join(parts)))
        return [frame for run in sorted(self._frames) for frame in self._frames[run]]

    def read_files(
        self,
        paths: Sequence[str],
        parse: Callable[[bytes], pl.DataFrame],
        sizes: Sequence[int | None] | None = None,
    ) -> list[pl.DataFrame]:
        """Read pieces that are to be merged, from their beginning and each byte once."""
        if parse is not from_lines:
            return super().read_files(paths, parse, sizes)
        return ObjectJournal(self.store)._of_runs(_pieces(dict.fromkeys(paths), frozenset()))  # noqa: SLF001 - the same class


def _pieces(sizes: dict[str, int | None], without: set[str] | frozenset[str]) -> dict[str, list[str]]:
    """The pieces of each run; those of one process are in the order of their bytes."""
    runs: dict[str, list[str]] = {}
    for path in sizes:
        parts = path.split("/")
        if len(parts) == 3 and parts[0] == "journal" and path.endswith(".ndjson") and parts[1] not in without:  # noqa: PLR2004
            runs.setdefault(parts[1], []).append(path)
    return {run: sorted(paths) for run, paths in runs.items()}


class ObjectClaims(Claims):
    """Claims in a bucket.

    Without create-only puts two runs cannot claim rows safely. The library does not emulate them: it refuses to
    start a run while another run is alive.
    """

    def take(self, run_id: str, rows: pl.DataFrame, *, above: int = 0) -> tuple[Claim, pl.DataFrame]:
        """Claim rows for a run; see `Claims.take`."""
        if not self.store.can_create("claims"):
            others = [claim.run_id for claim in self.all() if self.is_alive(claim)]
            if others:
                raise StorageError(
                    f"run {others[0]} is at work in {self.store.root}, and this store cannot keep two runs apart",
                    "Wait for its end, or set [path] log to a store with create-only puts.",
                )
        return super().take(run_id, rows, above=above)
