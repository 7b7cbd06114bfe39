import json

from sinagot_catalog import models


class Record(models.Record):
    """A record's EEG: `ws.RS.EEG.get("LY-001").seconds`."""

    @property
    def header(self):
        """What the amplifier wrote of the recording, None where there is none."""
        file = self.steps.get("preprocess").script.path.input / "header.json"
        return json.loads(file.read_text()) if file.exists() else None

    @property
    def seconds(self):
        """How long the recording lasts."""
        return None if self.header is None else self.header["samples"] / self.header["rate"]
