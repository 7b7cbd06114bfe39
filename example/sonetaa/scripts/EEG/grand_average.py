import numpy as np
import recording
from scipy.signal import welch

from sinagot_catalog import ScriptTemplate


class Script(ScriptTemplate):
    """The mean power spectrum of all records in a task, at the back of the head: one row per task."""

    BY = ()  # all records are one group

    PATH_IN = {
        "signal": ("EEG", "preprocess", "{id}-{task}-signal.npy"),
        "header": ("EEG", "preprocess", "{id}-{task}-header.json"),
    }
    PATH_OUT = ("EEG", "grand_average", "{task}.csv")

    def run(self):
        spectra = []
        for signal, header in zip(self.path.input["signal"], self.path.input["header"], strict=True):
            eeg = recording.read({"signal": signal, "header": header})
            hertz, power = welch(eeg.channel("Oz"), fs=eeg.rate, nperseg=4 * eeg.rate)
            spectra.append(power)
        self.logger.info("%d records", len(self.records))
        table = np.column_stack([hertz, np.mean(spectra, axis=0)])[hertz <= 30]
        np.savetxt(self.path.output, table, "%.4g", ",", header="hertz,power", comments="")
