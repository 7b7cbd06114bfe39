import numpy as np
import pixels

from sinagot_catalog import ScriptTemplate

GAP = 2


class Script(ScriptTemplate):
    """The contact sheet of a day: its pictures in the order of their numbers, beside and below each other."""

    BY = ("day",)
    PATH_IN = {"picture": "raw/{day}/{shot}.png", "measured": "measured/{day}/{shot}.json"}
    PATH_OUT = "sheets/{day}.png"

    def run(self):
        pictures = [pixels.read(path) for path in self.path.input["picture"]]
        height, width, _ = np.add(pictures[0].shape, (GAP, GAP, 0))
        across = self.params.across
        down = -(-len(pictures) // across)
        sheet = np.full((down * height + GAP, across * width + GAP, 3), 255)
        for number, picture in enumerate(pictures):
            row, column = divmod(number, across)
            top, left = row * height + GAP, column * width + GAP
            sheet[top : top + height - GAP, left : left + width - GAP] = picture
        self.logger.info("%d pictures: %s", len(pictures), ", ".join(self.records))
        pixels.write(self.path.output, sheet)
