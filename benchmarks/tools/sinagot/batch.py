"""What a user of sinagot types at its prompt, by name: python batch.py list|status|run."""

import sys

from sinagot import Workspace

workspace = Workspace(".")
if sys.argv[1] == "list":
    print(*workspace.records.iter_ids(), sep="\n")
elif sys.argv[1] == "status":
    workspace.steps.status().to_csv(sys.stdout)
else:
    workspace.steps.run()
