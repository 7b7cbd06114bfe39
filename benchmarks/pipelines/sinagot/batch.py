"""What a user of sinagot types at its prompt, by name: python batch.py list|status|run."""

import sys
from itertools import groupby
from pathlib import Path

from sinagot import Workspace


def total():
    """A loop of the user's own after the run, as there are no steps of groups."""
    Path("dataset/total").mkdir(exist_ok=True)
    members = sorted(Path("dataset/s10").iterdir())
    for group, paths in groupby(members, lambda path: path.name[:8]):
        target = Path(f"dataset/total/{group}.txt")
        if not target.exists():
            target.write_text(str(sum(int(path.read_text()) for path in paths)))


workspace = Workspace(".")
if sys.argv[1] == "list":
    print(*workspace.records.iter_ids(), sep="\n")
elif sys.argv[1] == "status":
    workspace.steps.status().to_csv(sys.stdout)
else:
    workspace.steps.run()
    total()
