"""`sinagot-catalog init`."""

import filecmp
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sinagot_catalog._patterns._template import IdPattern, is_safe_id
from sinagot_catalog.cli._from_files import propose

EXAMPLE = Path(__file__).parents[1] / "example" / "harbor"


def test_a_new_workspace_works_at_once(cli, tmp_path):
    made = cli("init")
    assert made.returncode == 0
    assert made.stdout == f"made {tmp_path}\n"
    assert "2 can run now: 2 count" in cli("status").stdout
    assert cli("run", "-q").stdout.startswith("2 done in ")
    assert (tmp_path / "dataset" / "count" / "REC-001.txt").read_text() == "4\n"
    assert "4 lines" in cli("logs", "REC-001").stdout


def test_nothing_is_overwritten(cli, tmp_path):
    (tmp_path / "scripts").mkdir()
    mine = tmp_path / "scripts" / "count.py"
    mine.write_text("mine")
    for words in ([], ["--example"]):
        refused = cli("init", ".", *words)
        assert refused.returncode == 2
        assert "count.py is there already, and nothing is overwritten" in refused.stderr
    assert mine.read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["scripts"]


def test_the_example_is_a_month_of_boats(cli, tmp_path):
    made = cli("init", "harbor", "--example")
    assert made.returncode == 0
    assert made.stderr == "next: cd harbor && sinagot-catalog status && sinagot-catalog run\n"
    assert "harbor · 30 records · 3 steps" in cli("status", "harbor").stdout
    for name in ("workspace.toml", "scripts/summary.py", "dataset/raw/REC-20200607-raw.csv"):
        assert filecmp.cmp(EXAMPLE / name, tmp_path / "harbor" / name, shallow=False)


def write(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("a\nb\n")


@pytest.mark.parametrize("dataset", [".", "dataset"])
def test_a_workspace_around_files_that_are_there_runs_at_once(cli, tmp_path, dataset):
    write(tmp_path / dataset, "raw/LY-001-raw.csv", "raw/PA-002-raw.csv", "raw/notes.txt")
    made = cli("init", "--from-files", "raw/{id}-raw.csv")
    assert made.returncode == 0, made.stderr
    assert "2 records: LY-001, PA-002\n" in made.stderr
    toml = (tmp_path / "workspace.toml").read_text()
    assert f'dataset = "{dataset}"' in toml
    assert r"id_pattern = '[A-Z]{2}-\d{3}'" in toml
    assert cli("run", "-q").stdout.startswith("2 done in ")
    assert (tmp_path / dataset / "lines" / "PA-002.txt").read_text() == "2\n"


def test_a_pattern_that_finds_nothing_names_what_nearly_fits_and_writes_nothing(cli, tmp_path):
    write(tmp_path, "raw/R1-raw.CSV")
    refused = cli("init", "--from-files", "raw/{id}-raw.csv")
    assert refused.returncode == 2
    assert "did you mean 'raw/R1-raw.CSV'?" in refused.stderr
    assert not (tmp_path / "workspace.toml").exists()
    for pattern, said in (("raw/all.csv", "has no {id}"), ("raw/{site}/{id}", "has both {id} and {site}")):
        refused = cli("init", "--from-files", pattern)
        assert refused.returncode == 2
        assert said in refused.stderr


@given(st.lists(st.from_regex(r"[\w.-]{1,12}", fullmatch=True).filter(is_safe_id), min_size=1, max_size=8))
def test_every_id_fits_the_pattern_that_is_proposed_for_it(ids):
    pattern = IdPattern(propose(ids))
    assert all(pattern.values(one) for one in ids)
