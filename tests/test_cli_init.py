"""`sinagot-catalog init`."""

import filecmp
from pathlib import Path

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
