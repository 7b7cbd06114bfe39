import json

import recording
from scipy.signal import welch

from sinagot_catalog import ScriptTemplate


class Script(ScriptTemplate):
    """The alpha rhythm at rest, at the back of the head: its frequency and its share of the power."""

    PATH_IN = {
        "signal": ("EEG", "preprocess", "{id}-{task}-signal.npy"),
        "header": ("EEG", "preprocess", "{id}-{task}-header.json"),
    }
    COLUMNS = True  # alpha.peak_hz and alpha.share are columns to filter by

    PATH_OUT = {
        "alpha": ("EEG", "alpha", "{id}.json"),
        "peak": ("EEG", "alpha", "{id}-peak.txt"),
    }

    def run(self):
        eeg = recording.read(self.path.input)
        hertz, power = welch(eeg.channel("Oz"), fs=eeg.rate, nperseg=4 * eeg.rate, nfft=16 * eeg.rate)
        alpha = (hertz >= 7) & (hertz <= 13)
        peak = float(hertz[alpha][power[alpha].argmax()])
        share = float(power[alpha].sum() / power.sum())
        self.path.output["alpha"].write_text(json.dumps({"peak_hz": peak, "share": round(share, 3)}))
        self.path.output["peak"].write_text(f"{peak}\n")
