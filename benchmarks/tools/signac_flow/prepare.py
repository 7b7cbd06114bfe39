"""Each file of the dataset becomes a job of its own, as signac keeps its data."""

from pathlib import Path

import signac

project = signac.init_project()
for source in Path("dataset/raw").iterdir():
    job = project.open_job({"record": source.stem}).init()
    source.rename(job.fn("raw.csv"))
