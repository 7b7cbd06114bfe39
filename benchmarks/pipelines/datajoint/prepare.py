"""Each file of the dataset becomes a row of the first table, in an empty database; so does each group."""

from pathlib import Path

import datajoint as dj

dj.Schema("counted").drop(prompt=False)
import tables  # noqa: E402 - declares them anew

names = sorted(one.stem for one in Path("dataset/raw").iterdir())
tables.Group.insert({"group_id": group} for group in sorted({name[:8] for name in names}))
tables.Recording.insert({"record": name, "group_id": name[:8]} for name in names)
for step in tables.STEPS:
    Path("dataset", step.__name__.lower()).mkdir()
