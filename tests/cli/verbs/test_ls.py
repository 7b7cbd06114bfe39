"""`sinagot-catalog ls`."""

import json

import polars as pl
import pytest


def test_tables_are_aligned_and_leave_out_what_says_nothing(cli, harbor_folder):
    done = cli("ls", "-C", harbor_folder)
    assert done.stdout.splitlines()[0].split() == [
        "record_id",
        "n_units",
        "n_steps",
        "n_init",
        "n_data_ready",
        "n_files",
    ]
    assert done.stdout.splitlines()[1].split() == ["REC-20200601", "1", "3", "1", "2", "1"]
    steps = cli("ls", "steps", "-C", harbor_folder, "--where", "step = 'summary'", "--limit", "1")
    assert [line.split() for line in steps.stdout.splitlines()] == [
        ["record_id", "step", "status", "reason"],
        ["REC-20200601", "summary", "INIT", "waits", "for", "count,", "mean"],
    ]
    assert steps.stderr == "(1 of 3 rows; --limit 0 for all)\n"


def test_columns_where_and_limit_choose_and_json_is_an_array_of_rows(cli, harbor_folder):
    words = ["--where", "status = 'DATA_READY' AND record_id > 'REC-20200601'", "--columns", "record_id,step"]
    done = cli("ls", "steps", "-C", harbor_folder, *words, "--limit", "3", "--json")
    assert json.loads(done.stdout) == [
        {"record_id": "REC-20200602", "step": "count"},
        {"record_id": "REC-20200602", "step": "mean"},
        {"record_id": "REC-20200603", "step": "count"},
    ]


@pytest.mark.parametrize("table", ["records", "units", "files", "steps", "events", "links"])
def test_parquet_has_the_whole_table(cli, harbor, harbor_folder, tmp_path, table):
    harbor.steps.run("count", mode="main_process", progress=False)
    done = cli("ls", table, "-C", harbor_folder, "--parquet", tmp_path / "rows.parquet")
    assert done.returncode == 0
    assert done.stdout == ""
    rows = pl.read_parquet(tmp_path / "rows.parquet")
    assert rows.height > 0
    frame = getattr(harbor, table)
    frame = frame() if callable(frame) else frame.collect()
    assert rows.columns == frame.columns
    assert rows.height == frame.height


def test_links_and_events_take_a_filter_too(cli, harbor_folder):
    done = cli("ls", "links", "-C", harbor_folder, "--where", "role = 'output' AND step = 'mean'", "--csv")
    assert len(done.stdout.splitlines()) == 1 + 3
    none = cli("ls", "events", "-C", harbor_folder)
    assert (none.returncode, none.stdout, none.stderr) == (0, "", "no events\n")
    for words in (["--where", "roll = 'output'"], ["--where", "role = 'outputs'"], ["--columns", "parth"]):
        wrong = cli("ls", "links", "-C", harbor_folder, *words)
        assert wrong.returncode == 2
        assert "did you mean" in wrong.stderr


def test_names_that_would_steer_the_terminal_are_shown_harmless(cli, write_workspace):
    folder = write_workspace({"a": ("raw/{id}", "a/{id}")}, ["raw/R1"])
    (folder / "dataset" / "raw" / "evil\x1b[2Jname").touch()
    done = cli("ls", "files", "-C", folder)
    assert "\x1b" not in done.stdout
    assert "evil" in done.stdout
    told = cli("status", folder)
    assert "\x1b" not in told.stdout + told.stderr
    assert "evil·[2Jname" in told.stderr


def test_json_keeps_each_kind_of_line_break_in_a_value(cli, write_workspace):
    name = "a\u2028b\x0bc\u2029d"
    body = f"raise ValueError({name!r})"
    folder = write_workspace({"a": ("raw/{id}", "a/{id}", body)}, ["raw/R1", "raw/R2"])
    assert cli("run", folder, "-q").returncode == 3
    rows = json.loads(cli("ls", "steps", "-C", folder, "--columns", "record_id,message", "--json").stdout)
    assert rows == [{"record_id": record_id, "message": name} for record_id in ("R1", "R2")]


def test_a_reader_that_goes_away_is_no_error(harbor_folder):
    import subprocess
    import sys
    from pathlib import Path

    program = Path(sys.executable).with_name("sinagot-catalog")
    with subprocess.Popen(
        [program, "ls", "links", "-C", harbor_folder], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(300) == 0
