"""The benchmarks run, say what they measured, and compare."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TINY = ("--records", "12", "--times", "1")
pytestmark = pytest.mark.slow


def run_benchmarks(cache, *arguments):
    where = () if arguments[0] in ("table", "chart") else ("--cache", str(cache))
    command = [sys.executable, "-m", "benchmarks", *where, *arguments]
    environment = {**os.environ, "NO_COLOR": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=850, check=False
    )


@pytest.fixture(scope="module")
def looked(tmp_path_factory):
    folder = tmp_path_factory.mktemp("benchmarks")
    names = ("import", "status", "files", "catalog", "filter", "results", "refresh", "relist", "groups")
    done = run_benchmarks(folder, "--quick", *TINY, "--json", str(folder / "first.json"), *names)
    assert done.returncode == 0, done.stderr
    return folder, done, json.loads((folder / "first.json").read_text())


def test_each_thing_is_measured_beside_its_floor(looked):
    measurements = {one["name"]: one for one in looked[2]["measurements"]}
    assert {
        "import/workspace",
        "status/harbor/12",
        "status/eeg/12",
        "files/eeg/12",
        "catalog/harbor/12",
        "results/12/one",
        "groups/12",
    } <= set(measurements)
    for one in measurements.values():
        assert len(one["ours"]) == len(one["floors"]) > 0
        assert min(*one["ours"], *one["floors"], one["figure"]) > 0


def test_what_is_warm_says_so_and_is_no_other_name_for_what_is_cold(looked):
    names = {one["name"] for one in looked[2]["measurements"]}
    assert not any(name.startswith("cold/") for name in names)
    for one in looked[2]["measurements"]:
        if one["name"].startswith(("status/", "files/")):
            assert one["what"].endswith(", warm")


def test_the_json_names_machine_and_versions(looked):
    assert looked[2]["schema"] == 1
    assert {"python", "polars", "sinagot-catalog"} <= set(looked[2]["versions"])
    assert "cores" in looked[2]["machine"]


def test_the_table_shows_ratio_and_spread(looked):
    assert "status/harbor/12" in looked[1].stdout
    assert "ratio" in looked[1].stdout
    assert "spread" in looked[1].stdout


def test_the_first_table_answers_how_long_by_number_of_records(looked):
    first = looked[1].stdout.index("How long does it take?")
    assert first < looked[1].stdout.index("status/harbor/12")
    assert "12 records" in looked[1].stdout
    assert "status of every step: files in flat folders" in looked[1].stdout


def test_each_figure_says_its_day_and_the_load_of_the_machine(looked):
    for one in looked[2]["measurements"]:
        assert len(one["day"]) == 10
        assert one["load"] >= 0


def test_a_disk_that_answers_slowly_is_measured_or_the_reason_is_given(tmp_path):
    done = run_benchmarks(tmp_path, *TINY, "--json", str(tmp_path / "out.json"), "network")
    assert done.returncode == 0, done.stderr
    measured = {one["name"]: one for one in json.loads((tmp_path / "out.json").read_text())["measurements"]}
    if "network skipped: " in done.stderr:
        assert not measured
        return
    files = measured["network/files/eeg/12"]
    assert min(*files["ours"], *files["floors"]) > 0.05  # some ninety files, a millisecond each
    assert not (tmp_path / "network-eeg-12" / "dataset").is_mount()


def test_the_first_page_of_the_ui_is_measured(tmp_path):
    done = run_benchmarks(tmp_path, *TINY, "--json", str(tmp_path / "out.json"), "ui")
    assert done.returncode == 0, done.stderr
    (one,) = json.loads((tmp_path / "out.json").read_text())["measurements"]
    assert one["name"] == "ui/12"


def test_a_table_for_a_page_is_made_of_kept_figures(looked):
    folder, _, first = looked
    later = {**first, "time": "9999-01-01", "measurements": [{**first["measurements"][0], "floor": "later"}]}
    (folder / "later.json").write_text(json.dumps(later))
    done = run_benchmarks(
        folder, "table", str(folder / "later.json"), str(folder / "first.json"), "--markdown"
    )
    assert done.returncode == 0, done.stderr
    rows = [line for line in done.stdout.splitlines() if line.startswith("| `")]
    assert len(rows) == len(first["measurements"])
    assert "| later |" in rows[0]
    assert rows[1].startswith(f"| `{first['measurements'][1]['name']}`: ")
    aimed = run_benchmarks(folder, "table", str(folder / "first.json"), "--markdown", "--goals")
    named = [one["name"] for one in first["measurements"] if one["goal"]]
    assert [line.split("`")[1] for line in aimed.stdout.splitlines() if line.startswith("| `")] == named


def test_comparing_names_what_got_slower(looked):
    folder, _, first = looked
    for one in first["measurements"]:
        one["figure"] /= 1000
    (folder / "quicker.json").write_text(json.dumps(first))
    done = run_benchmarks(folder, *TINY, "--compare", str(folder / "quicker.json"), "filter")
    assert done.returncode == 0, done.stderr
    assert "6 of 6 got slower by more than 10 %" in " ".join(done.stdout.split())


def test_running_is_measured_beside_a_bare_pool(tmp_path):
    names = ("run", "nothing-to-do", "memory")
    done = run_benchmarks(tmp_path, *TINY, "--json", str(tmp_path / "out.json"), *names)
    assert done.returncode == 0, done.stderr
    found = {one["name"] for one in json.loads((tmp_path / "out.json").read_text())["measurements"]}
    assert {"run/12x0.2ms", "nothing-to-do/12", "memory/run/12", "memory/status/eeg/12"} <= found


def test_an_unknown_name_is_refused(tmp_path):
    done = run_benchmarks(tmp_path, "statsu")
    assert done.returncode == 2
    assert "statsu" in done.stderr


def test_questions_over_a_listing_are_one_table(tmp_path):
    done = run_benchmarks(tmp_path, *TINY, "--json", str(tmp_path / "keys.json"), "keys")
    assert done.returncode == 0, done.stderr
    assert "120 keys" not in done.stdout
    assert "12 keys" in done.stdout
    assert "sinagot-catalog status" in done.stdout
    assert "x)" in done.stdout
    chart = run_benchmarks(tmp_path, "chart", str(tmp_path / "keys.json"), "-o", str(tmp_path / "keys.svg"))
    assert chart.returncode == 0, chart.stderr
    assert "plain Polars: status" in (tmp_path / "keys.svg").read_text()


def test_the_tables_of_the_page_are_made_from_the_kept_figures():
    page = (ROOT / "example" / "guide" / "benchmarks.md").read_text()
    source = "import sys; from benchmarks.page import written; print(written(sys.stdin.read()), end='')"
    done = subprocess.run(
        [sys.executable, "-c", source],
        cwd=ROOT,
        input=page,
        capture_output=True,
        text=True,
        timeout=850,
        check=True,
    )
    assert done.stdout == page
    assert page.count("<!-- table of ") == page.count("<!-- end of table -->") == 8


def test_the_page_shows_what_was_measured():
    kept = ROOT / "benchmarks" / "results" / "floors.json"
    done = run_benchmarks(None, "table", str(kept), "--markdown", "--goals")
    assert done.stdout in (ROOT / "example" / "guide" / "benchmarks.md").read_text()
    assert len(done.stdout.splitlines()) > 20
