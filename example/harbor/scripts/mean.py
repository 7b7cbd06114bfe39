import polars as pl

from sinagot_catalog import ScriptTemplate


class Script(ScriptTemplate):
    """The mean length of the boats of each kind, in metres."""

    PATH_IN = ("raw", "{id}-raw.csv")
    PATH_OUT = ("mean", "{id}-mean.csv")

    def run(self):
        boats = pl.read_csv(self.path.input)
        boats.group_by("kind").agg(pl.col("length").mean().round(2)).sort("kind").write_csv(self.path.output)
