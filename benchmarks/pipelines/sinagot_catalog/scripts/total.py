from sinagot_catalog import ScriptTemplate


class Script(ScriptTemplate):
    BY = ("group",)
    PATH_IN = ("s10", "{id}.txt")
    PATH_OUT = ("total", "{group}.txt")

    def run(self):
        self.path.output.write_text(str(sum(int(one.read_text()) for one in self.path.input)))
