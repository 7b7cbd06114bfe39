import json

import pixels

from sinagot_catalog import ScriptTemplate


class Script(ScriptTemplate):
    """How bright a picture is, and how bright the sky was: one second of exposure counts as one second of light."""

    PATH_IN = {"picture": "raw/{day}/{shot}.png", "settings": "raw/{day}/{shot}.json"}
    PATH_OUT = "measured/{day}/{shot}.json"
    COLUMNS = True  # measure.brightness and measure.sky are columns to filter by

    def run(self):
        settings = json.loads(self.path.input["settings"].read_text())
        brightness = float(pixels.read(self.path.input["picture"]).mean())
        values = {
            "time": settings["time"],
            "brightness": round(brightness, 1),
            "sky": round(brightness / settings["exposure_ms"], 2),
        }
        self.path.output.write_text(json.dumps(values))
