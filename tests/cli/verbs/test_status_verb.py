"""`sinagot-catalog status`."""

import json
import signal
import subprocess
import sys
from pathlib import Path


def test_a_new_workspace_says_what_can_run_and_how(cli, harbor_folder):
    done = cli("status", harbor_folder)
    assert done.returncode == 0
    assert done.stderr == ""
    head, *table, follow = done.stdout.splitlines()
    assert head.startswith("harbor · 3 records · 3 steps · 3 files in ")
    assert [line.split() for line in table] == [
        ["step", "INIT", "READY", "RUNNING", "DONE", "ERROR", "NO_DATA", "total"],
        ["count", "0", "3", "0", "0", "0", "0", "3"],
        ["mean", "0", "3", "0", "0", "0", "0", "3"],
        ["summary", "3", "0", "0", "0", "0", "0", "3"],
        ["total", "3", "6", "0", "0", "0", "0", "9"],
    ]
    assert follow == f"next: sinagot-catalog run {harbor_folder}   (6 can run now: 3 count, 3 mean)"


def test_counts_have_thousands_separators_in_the_table_as_in_the_sentences(cli, write_workspace):
    folder = write_workspace({"a": ("raw/{id}", "a/{id}")}, [f"raw/R{n}" for n in range(1234)])
    head, _, row, total, follow = cli("status", folder).stdout.splitlines()
    assert " · 1,234 records · " in head
    assert row.split() == ["a", "0", "1,234", "0", "0", "0", "0", "1,234"]
    assert row.index("1,234") == total.index("1,234")
    assert "(1,234 can run now: 1,234 a)" in follow
    assert json.loads(cli("status", folder, "--json").stdout)["totals"]["total"] == 1234
    assert cli("plan", folder).stdout.splitlines()[-1] == "1,234 to run"


def test_a_column_of_records_may_have_the_name_of_a_status(cli, write_workspace):
    toml = "[records]\nid_pattern = 'R\\d+'\nmetadata = 'ages.csv'\n"
    folder = write_workspace({"a": ("raw/{id}", "a/{id}")}, ["raw/R1", "raw/R2"], toml=toml)
    (folder / "ages.csv").write_text("record_id,READY\nR1,no\nR2,yes\n")
    head, *rows = cli("status", folder, "--by", "READY").stdout.splitlines()[1:4]
    assert head.split()[:2] == ["READY", "INIT"]
    assert [row.split()[:3] for row in rows] == [["no", "0", "1"], ["yes", "0", "1"]]


def test_a_column_of_records_with_the_name_of_a_count_is_refused(cli, write_workspace):
    toml = "[records]\nid_pattern = 'R\\d+'\nmetadata = 'ages.csv'\n"
    folder = write_workspace({"a": ("raw/{id}", "a/{id}")}, ["raw/R1"], toml=toml)
    (folder / "ages.csv").write_text("record_id,total\nR1,3\n")
    refused = cli("status", folder, "--by", "total")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "--by: total is also the name of a count\n" in refused.stderr


def test_the_workspace_is_found_from_a_folder_below_and_steps_that_are_complete_are_only_named(
    cli, harbor, harbor_folder
):
    harbor.steps.run("count", mode="main_process", progress=False)
    done = cli("status", cwd=harbor_folder / "dataset" / "raw")
    assert "complete: count\n" in done.stdout
    assert "\ncount" not in done.stdout
    assert "next: sinagot-catalog run   (3 can run now: 3 mean)\n" in done.stdout


def test_a_row_that_is_running_is_pointed_at(cli, write_workspace):
    folder = write_workspace({"clean": ("raw/{id}", "out/{id}")}, ["raw/R1"])
    (folder / "dataset/LOG").mkdir(exist_ok=True)
    line = {"record_id": "R1", "step_label": "clean", "step_status": 20, "message": "", "task": None}
    line |= {"log_from": "script", "scope": "record", "modality": None, "time": "2020-12-01T10:11:12.123456"}
    (folder / "dataset/LOG/R1.log").write_text(f"{json.dumps(line)}\n")
    last = cli("status", folder).stdout.splitlines()[-1]
    assert last == f"1 is running; see sinagot-catalog logs -C {folder} --follow"


def test_when_everything_is_done_it_says_no_more(cli, harbor, harbor_folder):
    harbor.steps.run(mode="main_process", progress=False)
    done = cli("status", "-C", harbor_folder)
    assert done.stdout.splitlines()[1:] == ["everything is done"]
    assert done.stderr == ""


def test_json_has_the_documented_keys(cli, harbor_folder):
    done = cli("status", harbor_folder, "--json", "--where", "record_id = 'REC-20200602'")
    told = json.loads(done.stdout)
    assert list(told) == [
        "workspace",
        "records",
        "files",
        "seconds",
        "snapshot",
        "counts",
        "totals",
        "next",
        "notices",
    ]
    assert told["records"] == 1
    assert told["counts"][0] == {
        "step": "count", "init": 0, "data_ready": 1, "processing": 0, "done": 0, "error": 0,
        "data_not_available": 0, "excluded": 0, "unknown": 0, "failed": 0, "stale": None, "total": 1,
    }  # fmt: skip
    assert told["totals"]["total"] == sum(one["total"] for one in told["counts"]) == 3
    assert told["next"]["rows"] == 2
    assert told["next"]["command"].endswith("--where \"record_id = 'REC-20200602'\"")


def test_failures_are_shown_by_kind(cli, write_workspace):
    folder = write_workspace({"a": ("raw/{id}", "a/{id}", "fail")}, [f"raw/R{n}" for n in range(4)])
    assert cli("run", folder, "-q").returncode == 3
    done = cli("status", folder)
    assert done.returncode == 0
    assert "failed: 4 a: ValueError: no boats on R… (R0)" in done.stdout
    assert f"next: sinagot-catalog run {folder} --status ERROR   (4 failed" in done.stdout
    assert f"why: sinagot-catalog logs -C {folder} --failed" in done.stderr


def test_by_counts_by_columns_of_steps_and_records(cli, write_workspace):
    folder = write_workspace(
        {"a": ("raw/{id}", "a/{id}")},
        ["raw/A-1", "raw/A-2", "raw/B-1"],
        toml="[steps]\nscripts = ['a']\n[records]\nid_pattern = '(?P<site>[AB])-[0-9]'\n",
    )
    done = cli("status", folder, "--by", "site", "--csv")
    rows = [line.split(",") for line in done.stdout.splitlines()]
    assert [(row[0], row[-1]) for row in rows] == [("site", "total"), ("A", "2"), ("B", "1")]
    wrong = cli("status", folder, "--by", "sight")
    assert wrong.returncode == 2
    assert "there is no column 'sight'; did you mean 'site'?" in wrong.stderr


def test_stale_rows_are_counted_when_asked_for(cli, harbor, harbor_folder):
    harbor.steps.run(mode="main_process", progress=False)
    raw = harbor_folder / "dataset" / "raw" / "REC-20200601-raw.csv"
    raw.write_text(raw.read_text() + "23:59,tug,20.0\n")
    done = cli("status", harbor_folder, "--stale")
    assert f"everything is done; 2 stale: sinagot-catalog run {harbor_folder} --stale" in done.stdout


def test_a_changed_script_is_told_also_while_other_rows_can_run(cli, write_workspace):
    folder = write_workspace({"a": ("raw/{id}.csv", "a/{id}")}, ["raw/R1.csv", "raw/R2.csv"])
    assert cli("run", folder, "-q").returncode == 0
    (folder / "scripts" / "a.py").write_text((folder / "scripts" / "a.py").read_text() + "\nimport os\n")
    (folder / "dataset" / "a" / "R1").unlink()
    told = cli("status", folder, "--stale").stdout.splitlines()[-1]
    assert told.startswith(f"next: sinagot-catalog run {folder}   (1 can run now: 1 a); ")
    assert told.endswith(f"; 1 stale: sinagot-catalog run {folder} --stale=code")


def test_groups_that_were_asked_for_are_shown_when_all_is_done(cli, harbor, harbor_folder):
    harbor.steps.run(mode="main_process", progress=False)
    _, head, *rows, follow = cli("status", harbor_folder, "--by", "record_id").stdout.splitlines()
    assert (head.split()[0], follow) == ("record_id", "everything is done")
    assert [(row.split()[0], row.split()[-1]) for row in rows] == [
        *((f"REC-2020060{day}", "3") for day in (1, 2, 3)), ("total", "9"),
    ]  # fmt: skip


def test_an_empty_dataset_and_files_that_do_not_match_are_said(cli, write_workspace):
    folder = write_workspace({"a": ("raw/{id}.csv", "a/{id}")})
    done = cli("status", folder)
    assert done.returncode == 0
    assert "nothing to do: no records" in done.stdout
    assert "holds no file of a record; looked for " in done.stderr
    assert "raw/{id}.csv" in done.stderr

    (folder / "dataset" / "raw").mkdir()
    (folder / "dataset" / "raw" / "BOAT-1.csv").touch()
    for verb in ("status", "run", "plan"):
        done = cli(verb, folder)
        assert done.returncode == 0
        assert (
            "1 file does not match, such as raw/BOAT-1.csv: the pattern is raw/{id}.csv, with id_pattern R\\d+"
            in done.stderr
        )


def test_a_script_that_cannot_be_read_is_named_and_the_others_go_on(cli, write_workspace):
    folder = write_workspace({"a": ("raw/{id}", "a/{id}"), "b": "def broken(:\n"}, ["raw/R1"])
    done = cli("status", folder)
    assert done.returncode == 0
    assert "note: step b cannot run: " in done.stderr
    assert "scripts/b.py" in done.stderr
    assert "1 can run now: 1 a" in done.stdout
    ran = cli("run", folder, "-q")
    assert ran.returncode == 3
    assert ran.stdout.startswith("1 done, 1 failed in ")


def test_the_command_that_looks_at_scripts_has_no_filter(cli, write_workspace):
    folder = write_workspace({"a": ("raw/{id}", "a/{id}"), "b": "def broken(:\n"}, ["raw/R1"])
    words = ("--step", "b", "--record", "R1", "--where", "record_id = 'R1'")
    last = cli("status", folder, *words).stdout.splitlines()[-1]
    assert last.endswith(f"; sinagot-catalog doctor {folder} says more")


def test_a_cause_that_several_tasks_have_is_told_once(cli, write_workspace):
    toml = """
    [tasks.A]
    modalities = ["EEG"]
    [tasks.B]
    modalities = ["EEG"]
    [modalities.EEG]
    scripts = ["fine", "bad"]
    """
    scripts = {"EEG/fine": ("raw/{id}_{task}", "out/{id}_{task}", "fail"), "EEG/bad": "def broken(:\n"}
    folder = write_workspace(scripts, ["raw/R1_A", "raw/R1_B", "raw/R2_B"], toml=toml)
    assert cli("run", folder, "-q").returncode == 3
    done = cli("status", folder)
    assert done.stderr.count("step bad cannot run: ") == 1
    failures = [line for line in done.stdout.splitlines() if line.startswith("failed: ")]
    assert len(failures) == 1
    assert failures[0].startswith("failed: 3 EEG fine: ")


def test_it_loads_neither_prefect_nor_what_draws_nor_the_scripts(cli, write_workspace):
    folder = write_workspace({"a": ("raw/{id}", "a/{id}", "pass")}, ["raw/R1"])
    script = folder / "scripts" / "a.py"
    script.write_text(script.read_text() + "raise SystemExit('imported')\n")
    done = cli("status", folder, PYTHONPROFILEIMPORTTIME="1")
    assert done.returncode == 0
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if "|" in line}
    assert "polars" in loaded
    assert loaded.isdisjoint({"prefect", "rich", "pyarrow", "fsspec", "asyncio"})


def test_it_looks_again_until_it_is_interrupted(harbor, harbor_folder, wait_until, tmp_path):
    program = Path(sys.executable).with_name("sinagot-catalog")
    words = [program, "status", harbor_folder, "--watch", "0.1", "--step", "count", "--csv"]
    shown = tmp_path / "shown"
    with shown.open("w") as out, subprocess.Popen(words, stdout=out) as process:
        try:
            wait_until(lambda: "count,0,3,0,0," in shown.read_text())
            harbor.steps.run("count", mode="main_process", progress=False)
            wait_until(lambda: "count,0,0,0,3," in shown.read_text())
            process.send_signal(signal.SIGINT)
            assert process.wait(300) == 0
        finally:
            process.kill()


def test_steps_are_counted_apart_from_the_groups(cli, lab_folder):
    folder = lab_folder()
    by_step = cli("status", folder).stdout.splitlines()[0]
    assert "· 3 steps ·" in by_step
    assert "groups" not in by_step
    by_both = cli("status", folder, "--by", "task,step").stdout.splitlines()[0]
    assert "· 3 steps · 4 groups ·" in by_both
    assert "· 1 step · 2 groups ·" in cli("status", folder, "--by", "task,step", "--step", "clean").stdout
    assert "· 3 groups ·" in cli("status", folder, "--by", "task,modality").stdout


def test_steps_that_wait_for_each_other_are_told_instead_of_a_command_that_fails(cli, write_workspace):
    folder = write_workspace({"a": ("b/{id}", "a/{id}"), "b": ("raw/{id}", "b/{id}")}, ["raw/R1"])
    assert "nothing can run: steps wait for each other: " in cli("status", folder).stdout
    assert cli("run", folder).returncode == 2
