"""Make the small EEG platform that lies in `dataset`: `python make_dataset.py [FOLDER]`.

Nobody was recorded: the signals are noise with the rhythms and answers of a brain laid over it. The same seed
gives the same bytes, so what is committed can be made again. Needs numpy.
"""

import argparse
import json
from pathlib import Path

import numpy as np

PEOPLE = [*(f"LY-{n:03}" for n in range(1, 13)), *(f"PA-{n:03}" for n in range(1, 9))]
TASKS = {"RS": 8, "MMN": 24, "HDC": 8}  # seconds of each recording
CHANNELS = ["Fz", "Cz", "Pz", "Oz"]
RATE = 128
MICROVOLTS = 0.05  # of one step of the amplifier

# What goes wrong on a platform.
EXPECTED_ONLY = "PA-008"  # in the table of patients, and never seen
NOT_RECORDED = {("PA-003", "RS"), ("LY-007", "MMN")}
NO_EVENTS = "LY-011"  # the file of the tones of its MMN was lost
NO_TRIALS = "LY-004"  # its HDC was recorded, its answers were not
FLAT = ("PA-005", "RS")  # an electrode was not connected


def make(folder: Path) -> None:
    """Write the whole dataset."""
    ages = patients(folder / "clinical")
    behavior = folder / "behavior"
    behavior.mkdir(parents=True, exist_ok=True)
    norms = {"accuracy": {"mean": 0.9, "sd": 0.05}, "reaction_ms": {"mean": 480.0, "sd": 60.0}}
    (behavior / "norms.json").write_text(json.dumps(norms, indent=2) + "\n")
    for number, record_id in enumerate(PEOPLE):
        if record_id == EXPECTED_ONLY:
            continue
        age = ages[record_id]
        interview(folder / "clinical" / "interview" / f"{record_id}.json", np.random.default_rng([1, number]))
        if record_id != NO_TRIALS:
            trials(behavior / "trials" / f"{record_id}.csv", age, np.random.default_rng([2, number]))
        for task in TASKS:
            if (record_id, task) not in NOT_RECORDED:
                where = folder / "EEG" / "raw" / record_id[:2] / f"{record_id}-{task}"
                record(
                    where, record_id, task, age, np.random.default_rng([3, number, list(TASKS).index(task)])
                )


def patients(folder: Path) -> dict[str, int]:
    """The table of everybody who is to come; gives their ages."""
    folder.mkdir(parents=True, exist_ok=True)
    dice = np.random.default_rng(0)
    ages = {record_id: int(dice.integers(20, 75)) for record_id in PEOPLE}
    lines = ["record_id,age,sex,group"]
    for number, (record_id, age) in enumerate(ages.items()):
        group = "patient" if number % 2 else "control"
        lines.append(f"{record_id},{age},{'FM'[int(dice.integers(2))]},{group}")
    (folder / "patients.csv").write_text("\n".join(lines) + "\n")
    return ages


def interview(path: Path, dice: np.random.Generator) -> None:
    """What one person said."""
    path.parent.mkdir(parents=True, exist_ok=True)
    said = {
        "handedness": "left" if dice.random() < 0.15 else "right",  # noqa: PLR2004 - about as many as there are
        "sleep_hours": round(float(dice.normal(7.2, 0.9)), 1),
        "coffees": int(dice.integers(0, 4)),
    }
    path.write_text(json.dumps(said) + "\n")


def trials(path: Path, age: int, dice: np.random.Generator) -> None:
    """Forty answers of one person, slower with age."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ["trial,hand,reaction_ms,correct"]
    for trial in range(1, 41):
        hand = ("left", "right")[int(dice.integers(2))]
        reaction = 360 + 2.5 * age + 60 * dice.standard_gamma(1.5) + (15 if hand == "left" else 0)
        lines.append(f"{trial},{hand},{reaction:.0f},{int(dice.random() < 0.97 - age / 1000)}")
    path.write_text("\n".join(lines) + "\n")


def record(folder: Path, record_id: str, task: str, age: int, dice: np.random.Generator) -> None:
    """One recording: a folder with the signal, its header and, for MMN, when which tone was played."""
    folder.mkdir(parents=True, exist_ok=True)
    samples = TASKS[task] * RATE
    signal = noise(samples, dice) + alpha(samples, age, dice)
    if task == "MMN":
        tones = tones_of(TASKS[task], dice)
        signal += answers(samples, tones, age)
        if record_id != NO_EVENTS:
            lines = [f"{seconds:.2f},{tone}" for seconds, tone in tones]
            (folder / "events.csv").write_text("\n".join(["seconds,tone", *lines]) + "\n")
    if (record_id, task) == FLAT:
        signal[CHANNELS.index("Cz")] = 0
    np.save(folder / "signal.npy", np.round(signal / MICROVOLTS).astype("<i2"))
    header = {"channels": CHANNELS, "rate": RATE, "samples": samples, "microvolts": MICROVOLTS}
    (folder / "header.json").write_text(json.dumps(header) + "\n")


def noise(samples: int, dice: np.random.Generator) -> np.ndarray:
    """White noise, a slow drift, and the mains."""
    time = np.arange(samples) / RATE
    white = dice.normal(0, 3, (len(CHANNELS), samples))
    drift = 20 * np.sin(2 * np.pi * 0.1 * time + dice.uniform(0, 6, (len(CHANNELS), 1)))
    return white + drift + 5 * np.sin(2 * np.pi * 50 * time)


def alpha(samples: int, age: int, dice: np.random.Generator) -> np.ndarray:
    """A rhythm at the back of the head that slows down with age."""
    hertz = 11.2 - 0.03 * age + dice.normal(0, 0.15)
    weight = np.array([[0.2], [0.4], [1.0], [1.4]])
    return weight * 5 * np.sin(2 * np.pi * hertz * np.arange(samples) / RATE + dice.uniform(0, 6))


def tones_of(seconds: int, dice: np.random.Generator) -> list[tuple[float, str]]:
    """A tone each half second, about each fifth a rare one."""
    kinds = dice.permutation(["deviant"] * 9 + ["standard"] * (2 * seconds - 11))
    return [(0.5 + 0.5 * number, str(kind)) for number, kind in enumerate(kinds)]


def answers(samples: int, tones: list[tuple[float, str]], age: int) -> np.ndarray:
    """What the tones evoke: the rare ones a further wave, later and weaker with age."""
    time = np.arange(samples) / RATE
    wave = np.zeros(samples)
    for seconds, tone in tones:
        wave -= 2 * np.exp(-(((time - seconds - 0.09) / 0.02) ** 2))
        if tone == "deviant":
            latency = 0.14 + 0.0006 * age
            wave -= (14 - 0.08 * age) * np.exp(-(((time - seconds - latency) / 0.03) ** 2))
    return np.array([[1.0], [0.7], [0.1], [-0.4]]) * wave


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=Path(__file__).parent / "dataset")
    make(parser.parse_args().folder)
