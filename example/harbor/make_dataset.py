"""Make the month of boats that lies in `dataset/raw`: `python make_dataset.py [FOLDER] [--days N]`.

The same seed gives the same month, so what is committed can be made again.
"""

import argparse
import random
from datetime import date, timedelta
from pathlib import Path

KINDS = {"sail": (6, 14), "fishing": (8, 25), "ferry": (30, 90), "barge": (20, 60), "tug": (12, 30)}


def make(folder: Path, days: int, seed: int = 2020) -> None:
    """Write one CSV a day, from the first of June 2020 on: time, kind and length of each boat."""
    folder.mkdir(parents=True, exist_ok=True)
    dice = random.Random(seed)  # noqa: S311 - boats are no secret
    for day in range(days):
        when = date(2020, 6, 1) + timedelta(days=day)
        times = sorted(dice.randrange(24 * 60) for _ in range(dice.randint(12, 40)))
        lines = ["time,kind,length"]
        for minute in times:
            kind = dice.choice(list(KINDS))
            length = dice.uniform(*KINDS[kind])
            lines.append(f"{minute // 60:02}:{minute % 60:02},{kind},{length:.1f}")
        (folder / f"REC-{when:%Y%m%d}-raw.csv").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=Path(__file__).parent / "dataset" / "raw")
    parser.add_argument("--days", type=int, default=30)
    options = parser.parse_args()
    make(options.folder, options.days)
