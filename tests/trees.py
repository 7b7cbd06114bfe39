"""Trees of files made from names alone: those of public BIDS datasets, and any others."""

from collections.abc import Iterable
from pathlib import Path

NAMES = Path(__file__).parent / "data" / "bids_names.txt"


def names_of(dataset: str) -> list[str]:
    """The files of a dataset, below its folder."""
    lines = NAMES.read_text().splitlines()
    return [line.split("/", 1)[1] for line in lines if line.startswith(f"{dataset}/")]


def make_tree(folder: Path, names: Iterable[str]) -> None:
    """Make empty files."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def parts_of(name: str) -> dict[str, str]:
    """The entities of a BIDS file name."""
    *pairs, _ = name.rsplit("/", 1)[-1].split("_")
    return dict(pair.split("-", 1) for pair in pairs)
