import json

import numpy as np
import recording

from sinagot_catalog import ScriptTemplate


class Script(ScriptTemplate):
    """Mismatch negativity: how much lower the answer to a rare tone is than that to a usual one, and when."""

    VERSION = 2  # 1 looked at Cz

    PATH_IN = {
        "signal": ("EEG", "preprocess", "{id}-{task}-signal.npy"),
        "header": ("EEG", "preprocess", "{id}-{task}-header.json"),
        "events": ("EEG", "raw", "{site}", "{id}-{task}", "events.csv"),
    }
    PATH_OUT = {
        "mmn": ("EEG", "mmn", "{id}.json"),
        "curve": ("EEG", "mmn", "{id}-curve.csv"),
    }

    def run(self):
        eeg = recording.read(self.path.input)
        moments = recording.read_events(self.path.input["events"])
        answers = {tone: recording.average(eeg.channel("Fz"), eeg.rate, when) for tone, when in moments.items()}
        times, deviant = answers["deviant"]
        difference = deviant - answers["standard"][1]
        self.logger.info("%d deviant tones of %d", len(moments["deviant"]), sum(map(len, moments.values())))

        first, last = self.params.window_ms
        window = (times >= first) & (times <= last)
        lowest = difference[window].argmin()
        mmn = {
            "amplitude_uv": round(float(difference[window][lowest]), 2),
            "latency_ms": round(float(times[window][lowest]), 1),
        }
        self.path.output["mmn"].write_text(json.dumps(mmn))
        table = np.column_stack([times, difference]).round(2)
        np.savetxt(self.path.output["curve"], table, "%g", ",", header="ms,microvolts", comments="")
