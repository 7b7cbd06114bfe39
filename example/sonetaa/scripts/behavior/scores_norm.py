import csv
import json
from statistics import fmean

from sinagot_catalog import ScriptTemplate


class Script(ScriptTemplate):
    """The scores against those of healthy people: in their standard deviations from their mean."""

    PATH_IN = {
        "scores": ("behavior", "scores", "{id}.csv"),
        "norms": ("behavior", "norms.json"),
    }
    PATH_OUT = ("behavior", "scores_norm", "{id}.csv")

    def run(self):
        norms = json.loads(self.path.input["norms"].read_text())
        with self.path.input["scores"].open(newline="") as file:
            hands = list(csv.DictReader(file))
        lines = []
        for name, norm in norms.items():
            score = fmean(float(hand[name]) for hand in hands)
            lines.append(f"{name}_z,{(score - norm['mean']) / norm['sd']:.2f}")
        self.path.output.write_text("\n".join(lines) + "\n")
