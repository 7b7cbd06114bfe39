import json

import polars as pl

from sinagot_catalog import ScriptTemplate


class Script(ScriptTemplate):
    """One line on the day, from what the other two steps found."""

    PATH_IN = {
        "count": ("count", "{id}-count.csv"),
        "mean": ("mean", "{id}-mean.csv"),
    }
    PATH_OUT = ("summary", "{id}.json")

    def run(self):
        count = pl.read_csv(self.path.input["count"])
        mean = pl.read_csv(self.path.input["mean"])
        metres = count.join(mean, on="kind").select((pl.col("boats") * pl.col("length")).sum()).item()
        busiest = count.sort("boats", descending=True).row(0, named=True)
        day = {"boats": count["boats"].sum(), "metres": round(metres, 1), "most": busiest["kind"]}
        self.path.output.write_text(json.dumps(day))
