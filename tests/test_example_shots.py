"""The example of pictures in dated folders: small, made by its script, and what its contact sheets show."""

import runpy
import shutil
from pathlib import Path

import pytest

from sinagot_catalog import Workspace

SHOTS = Path(__file__).parents[1] / "example" / "shots"
OUTPUTS = ("LOG", "measured", "sheets", "exclude.csv", "__pycache__")


@pytest.fixture
def shots(tmp_path):
    shutil.copytree(SHOTS, tmp_path / "shots", ignore=shutil.ignore_patterns(*OUTPUTS))
    return Workspace(tmp_path / "shots")


@pytest.fixture
def read(monkeypatch):
    """The function with which the scripts read a picture."""
    monkeypatch.syspath_prepend(SHOTS / "scripts")
    return runpy.run_path(str(SHOTS / "scripts" / "pixels.py"))["read"]


def test_the_example_is_small_and_its_pictures_can_be_made_again(shots, tmp_path, monkeypatch):
    root = tmp_path / "shots"
    assert sum(path.stat().st_size for path in root.rglob("*") if path.is_file()) < 50_000
    monkeypatch.syspath_prepend(SHOTS / "scripts")
    runpy.run_path(str(SHOTS / "make_dataset.py"))["make"](tmp_path / "made")
    made = {path.relative_to(tmp_path / "made"): path.read_bytes() for path in tmp_path.glob("made/*/*")}
    kept = {
        path.relative_to(root / "dataset/raw"): path.read_bytes() for path in root.glob("dataset/raw/*/*")
    }
    assert made.keys() == kept.keys()
    assert [name for name in made if name.suffix == ".json" and made[name] != kept[name]] == []
    assert shots.records.count() == 18


def test_a_contact_sheet_has_the_pictures_of_its_day_in_their_order(shots, read):
    assert shots.steps.run(mode="main_process", progress=False).counts() == {"done": 21}
    sheet = read(shots.data_path / "sheets/2026-05-01.png")
    assert sheet.shape == (2 * 34 + 2, 3 * 50 + 2, 3)
    for number in range(6):
        top, left = number // 3 * 34 + 2, number % 3 * 50 + 2
        picture = read(shots.data_path / f"raw/2026-05-01/{number + 1:04}.png")
        assert (sheet[top : top + 32, left : left + 48] == picture).all()


def test_a_day_without_its_excluded_picture_has_a_sheet_of_the_others(shots, read):
    shots.records.filter(record_id="2026-05-02_0004").exclude("the lens was covered")
    assert shots.steps.run(mode="main_process", progress=False).counts() == {"done": 20}
    sheet = read(shots.data_path / "sheets/2026-05-02.png")
    assert (sheet[36:68, 102:150] == 255).all()


def test_a_picture_without_its_settings_is_named_and_its_day_goes_on(shots):
    (shots.data_path / "raw/2026-05-03/0002.json").unlink()
    assert shots.refresh().steps.run(mode="main_process", progress=False).counts() == {"done": 20}
    row = shots.steps.filter(record_id="2026-05-03_0002").select("status", "reason").row(0)
    assert row == ("INIT", "missing raw/2026-05-03/0002.json")
    row = shots.steps.filter(record_id="day=2026-05-03").select("status", "reason").row(0)
    assert row[0] == "DONE"
