"""The scripts of the steps from the second to the tenth, which differ in their number only."""

from pathlib import Path

SCRIPT = """from sinagot_catalog import ScriptTemplate


class Script(ScriptTemplate):
    PATH_IN = ("s{before:02}", "{{id}}.txt")
    PATH_OUT = ("s{number:02}", "{{id}}.txt")

    def run(self):
        self.path.output.write_text(str(int(self.path.input.read_text()) + 1))
"""

for number in range(2, 11):
    Path(f"scripts/s{number:02}.py").write_text(SCRIPT.format(before=number - 1, number=number))
