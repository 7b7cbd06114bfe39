import csv
from statistics import fmean, median

from sinagot_catalog import ScriptTemplate


class Script(ScriptTemplate):
    """How often the answers of each hand were right, and how long they took."""

    PATH_IN = ("behavior", "trials", "{id}.csv")
    PATH_OUT = {
        "table": ("behavior", "scores", "{id}.csv"),
        "accuracy": ("behavior", "scores", "{id}-accuracy.txt"),
    }

    def run(self):
        with self.path.input.open(newline="") as file:
            trials = list(csv.DictReader(file))
        lines = ["hand,accuracy,reaction_ms"]
        for hand in ("left", "right"):
            mine = [trial for trial in trials if trial["hand"] == hand]
            right = [float(trial["reaction_ms"]) for trial in mine if trial["correct"] == "1"]
            lines.append(f"{hand},{len(right) / len(mine):.3f},{median(right):.1f}")
        self.path.output["table"].write_text("\n".join(lines) + "\n")
        self.path.output["accuracy"].write_text(f"{fmean(int(trial['correct']) for trial in trials):.3f}\n")
