"""Each file of the dataset becomes a row of the first table, in an empty database."""

from pathlib import Path

import datajoint as dj

dj.Schema("counted").drop(prompt=False)
import tables  # noqa: E402 - declares them anew

tables.Recording.insert({"record": one.stem} for one in sorted(Path("dataset/raw").iterdir()))
Path("dataset/out").mkdir()
