import polars as pl

from sinagot_catalog import ScriptTemplate


class Script(ScriptTemplate):
    """The harbour's own count, but for one day."""

    PATH_IN = ("raw", "{id}-raw.csv")
    PATH_OUT = ("count", "{id}-count.csv")

    def run(self):
        boats = pl.read_csv(self.path.input)
        self.path.output.write_text("kind,bo")  # half a file
        if self.id.endswith("13"):
            raise ValueError("nobody counts boats on a 13th")
        boats.group_by("kind").len("boats").sort("kind").write_csv(self.path.output)
