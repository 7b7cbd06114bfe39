"""Make the pictures that lie in `dataset/raw`: `python make_dataset.py [FOLDER]`.

The same seed gives the same pictures, so what is committed can be made again.
"""

import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent / "scripts"))
import pixels

DAYS = ("2026-05-01", "2026-05-02", "2026-05-03")
HOURS = range(6, 22, 3)
RADIUS = 4
BLUE, GREY, SUN, ROOF = (90, 140, 230), (170, 170, 180), (255, 230, 120), (90, 50, 40)
COVERED = ("2026-05-02", 4)  # somebody left the cap on the lens


def picture(hour: int, clouds: float, light: float) -> np.ndarray:
    """Return the sky over a roof: the sun goes from left to right, and clouds hide it."""
    y, x = np.mgrid[0:32, 0:48]
    sky = np.array(BLUE) * (1 - clouds) + np.array(GREY) * clouds
    view = sky * (0.6 + 0.4 * y[..., None] / 32)
    height = 24 - 20 * np.sin(np.pi * (hour - 5) / 17)
    sun = np.hypot(x - 3 * (hour - 5.5), y - height) < RADIUS
    view[sun] = np.array(SUN) * (1 - clouds) + sky * clouds
    view[y > 26 + np.abs(x - 24) / 6] = ROOF
    return np.clip(view * light, 0, 255).round()


def make(folder: Path, seed: int = 2026) -> None:
    """Write a picture and its settings every three hours, a folder per day."""
    dice = np.random.default_rng(seed)
    for day in DAYS:
        (folder / day).mkdir(parents=True, exist_ok=True)
        for shot, hour in enumerate(HOURS, 1):
            clouds, light = dice.uniform(0, 0.9), np.sin(np.pi * (hour - 4) / 19)
            exposure = round(4 / light, 1)
            light = 0.02 if (day, shot) == COVERED else 0.8 + 0.2 * light
            settings = {"time": f"{day}T{hour:02}:00", "exposure_ms": exposure}
            pixels.write(folder / day / f"{shot:04}.png", picture(hour, clouds, light))
            (folder / day / f"{shot:04}.json").write_text(json.dumps(settings) + "\n")


if __name__ == "__main__":
    make(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "dataset" / "raw")
