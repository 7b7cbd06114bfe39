import recording
from scipy.signal import butter, sosfiltfilt

from sinagot_catalog import ScriptTemplate


class Script(ScriptTemplate):
    """What is of the brain: 1 to 30 Hz, against the average of all channels."""

    PATH_IN = ("EEG", "raw", "{site}", "{id}-{task}")
    PATH_OUT = {
        "signal": ("EEG", "preprocess", "{id}-{task}-signal.npy"),
        "header": ("EEG", "preprocess", "{id}-{task}-header.json"),
    }
    PATH_CONTROL = ("EEG", "control", "{id}-{task}.txt")

    def run(self):
        eeg = recording.read_raw(self.path.input)
        spread = dict(zip(eeg.channels, eeg.signal.std(axis=1), strict=True))
        self.path.control.write_text("".join(f"{name} {microvolts:.1f}\n" for name, microvolts in spread.items()))
        flat = [name for name, microvolts in spread.items() if microvolts == 0]
        if flat:
            raise ValueError(f"channel {', '.join(flat)} is flat: was the electrode connected?")
        band = butter(4, (1, 30), "bandpass", fs=eeg.rate, output="sos")
        eeg.signal = sosfiltfilt(band, eeg.signal)
        eeg.signal -= eeg.signal.mean(axis=0)
        self.logger.info("%d channels, %.0f s", len(eeg.channels), eeg.signal.shape[1] / eeg.rate)
        recording.write(eeg, self.path.output)
