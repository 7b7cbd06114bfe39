from sinagot_catalog import ScriptTemplate


class Script(ScriptTemplate):
    PATH_IN = ("raw", "{id}.csv")
    PATH_OUT = ("s01", "{id}.txt")

    def run(self):
        lines = self.path.input.read_text().splitlines()
        self.path.output.write_text(str(len(lines)))
