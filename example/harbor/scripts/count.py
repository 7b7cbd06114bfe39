import polars as pl

from sinagot_catalog import ScriptTemplate


class Script(ScriptTemplate):
    """How many boats of each kind were seen."""

    PATH_IN = ("raw", "{id}-raw.csv")
    PATH_OUT = ("count", "{id}-count.csv")

    def run(self):
        boats = pl.read_csv(self.path.input)
        boats.group_by("kind").len("boats").sort("kind").write_csv(self.path.output)
