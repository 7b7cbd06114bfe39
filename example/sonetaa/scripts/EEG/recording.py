"""What the EEG scripts share: a recording in and out, and its average over moments."""

import csv
import json

import numpy as np


class Recording:
    """Signals in microvolts, a row per channel."""

    def __init__(self, signal, channels, rate):
        self.signal = signal
        self.channels = channels
        self.rate = rate

    def channel(self, name):
        return self.signal[self.channels.index(name)]


def read_raw(folder):
    """A recording as the amplifier wrote it: whole numbers, and the size of one of them in the header."""
    header = json.loads((folder / "header.json").read_text())
    signal = np.load(folder / "signal.npy") * header["microvolts"]
    return Recording(signal, header["channels"], header["rate"])


def read(path):
    """A recording that `preprocess` wrote."""
    header = json.loads(path["header"].read_text())
    return Recording(np.load(path["signal"]), header["channels"], header["rate"])


def write(recording, path):
    np.save(path["signal"], recording.signal.astype(np.float32))
    path["header"].write_text(json.dumps({"channels": recording.channels, "rate": recording.rate}))


def read_events(path):
    """The moments in seconds at which each kind of tone was played."""
    moments = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            moments.setdefault(row["tone"], []).append(float(row["seconds"]))
    return moments


def average(signal, rate, moments, before=0.1, after=0.4):
    """The mean of a signal around some moments, above its mean before them: times in ms, microvolts."""
    first, last = -round(before * rate), round(after * rate)
    starts = [round(moment * rate) for moment in moments]
    epochs = [signal[start + first : start + last] for start in starts if start + last <= signal.size]
    mean = np.mean(epochs, axis=0)
    return np.arange(first, last) / rate * 1000, mean - mean[:-first].mean()
