"""`ws.explain` and `sinagot-catalog explain`: why a row has its status."""

import itertools
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import polars as pl
import pytest

from sinagot_catalog.errors import NotFoundError, SelectionError

RAW, OUT = "raw/R1.csv", "out/R1.csv"
EVENTS = (None, "start", "log", "publishing", "done", "error", "half", "not_available", "cancelled")


def write(lines, event, record_id="R1"):
    if event in ("publishing", "half"):
        lines.write("publishing", record_id, paths=["out/a", "out/b"])
    if event in ("error", "half"):
        lines.write(
            "error",
            record_id,
            "no boats\nsecond line",
            error_type="ValueError",
            seconds=1.0,
            attempts=1,
            traceback="Traceback:\n  ValueError: no boats",
            output="looked at 3",
        )
    elif event == "done":
        lines.write("done", record_id, seconds=1.0, attempts=1, inputs=[(4, 5)])
    elif event in ("log", "not_available"):
        lines.write(event, record_id, "said")
    elif event in ("start", "cancelled"):
        lines.write(event, record_id)


def claim(ws, step="clean", run_id="run-1"):
    rows = pl.DataFrame({"record_id": ["R1"], "task": [None], "modality": [None], "step": [step]})
    return ws._source.claims.take(run_id, rows.cast(pl.String))[0]


@pytest.fixture
def explained(make_workspace, journal_of):
    numbers = itertools.count()

    def make(files, event=None, *, alive=False, outputs="out/{id}.csv"):
        ws = make_workspace(
            {"clean": ("raw/{id}.csv", outputs), "seen": ("known/{id}", ())},
            ["known/R1", *files],
            name=f"w{next(numbers)}",
        )
        write(journal_of(ws, "clean"), event)
        if alive:
            claim(ws)
        return ws, ws.explain("R1", "clean")

    return make


@pytest.mark.slow
def test_the_rule_that_decides_gives_the_status_of_the_steps_table_in_every_case(explained):
    seen = set()
    for files in ((), (RAW,), (OUT,), (RAW, OUT)):
        for event, alive, outputs in itertools.product(EVENTS, (False, True), ("out/{id}.csv", ())):
            ws, told = explained(files, event, alive=alive, outputs=outputs)
            row = ws.steps.filter(step="clean").collect().row(0, named=True)
            assert told.decided.status == told.status == row["status"], (files, event, alive, outputs)
            assert told.reason == row["reason"]
            place = told.rules.index(told.decided)
            assert [rule.holds for rule in told.rules[:place]] == [False] * place
            assert {rule.holds for rule in told.rules[place + 1 :]} <= {None}
            assert told.changes
            assert json.loads(json.dumps(told.to_dict()))["decided_by"] == told.decided.number
            assert told.name in repr(told)
            seen.add(told.decided.number)
    assert seen == {1, 3, 4, 5, 6, 7, 8}  # 0 and 2 have tests of their own


def test_a_failed_row_shows_its_attempt_with_traceback_and_what_the_script_printed(explained):
    _, told = explained((RAW,), "error")
    assert told.decided.says == "the last attempt failed or was lost"
    assert told.decided.evidence == "ValueError: no boats"
    assert told.attempt.traceback.startswith("Traceback:")
    assert told.attempt.output == "looked at 3"
    assert told.attempt.host == os.uname().nodename
    assert told.changes[0].run == {}
    assert "  ValueError: no boats" in repr(told)


def test_a_later_attempt_without_a_word_does_not_show_the_traceback_of_an_earlier_one(
    make_workspace, journal_of
):
    ws = make_workspace({"clean": ("raw/{id}.csv", "out/{id}.csv")}, [RAW])
    write(journal_of(ws, "clean"), "error")
    write(journal_of(ws, "clean"), "start")
    told = ws.explain("R1", "clean")
    assert told.reason.startswith("lost: ")
    assert told.attempt.traceback is None


def test_files_have_sizes_and_times_and_absent_ones_say_what_lies_near(make_workspace):
    ws = make_workspace(
        {"clean": ("raw/{id}.csv", "out/{id}.csv"), "seen": ("k/{id}", ())}, ["k/R1", "raw/r1.CSV"]
    )
    told = ws.explain("R1", "clean")
    absent, output = told.files
    assert (absent.role, absent.exists, absent.near) == ("input", False, "raw/r1.CSV")
    assert not output.exists
    assert "is that it?" in repr(told)
    Path(ws.data_path, RAW).write_text("12345")
    there = ws.refresh().explain("R1", "clean").files[0]
    assert (there.size, there.near) == (5, None)
    assert there.modified.timestamp() == pytest.approx(Path(ws.data_path, RAW).stat().st_mtime, abs=1)


def test_another_records_file_is_not_called_near(make_workspace):
    ws = make_workspace(
        {"clean": ("raw/{id}.csv", "out/{id}.csv"), "seen": ("k/{id}", ())}, ["k/R1", "raw/R2.csv"]
    )
    assert ws.explain("R1", "clean").files[0].near is None


def test_a_file_with_another_name_is_not_called_near(make_workspace):
    ws = make_workspace(
        {"clean": ("raw/{id}.csv", "out/{id}.csv"), "seen": ("k/{id}", ())}, ["k/R1", "raw/readme.csv"]
    )
    assert ws.explain("R1", "clean").files[0].near is None


def test_a_waiting_row_names_the_chain_of_steps_up_to_the_one_that_failed(make_workspace):
    ws = make_workspace(
        {"a": ("raw/{id}", "a/{id}", "fail"), "b": ("a/{id}", "b/{id}"), "c": ("b/{id}", "c/{id}")},
        ["raw/R1"],
    )
    ws.steps.run(mode="main_process", progress=False)
    told = ws.explain("R1", "c")
    assert [(one.step, one.status, one.makes) for one in told.upstream] == [
        ("b", "INIT", "b/R1"),
        ("a", "ERROR", "a/R1"),
    ]
    assert told.upstream[1].reason == "ValueError: no boats on R1"
    assert told.changes[0].text == "b/R1 appearing, which b makes"


def test_a_row_whose_chain_can_run_says_so(cli, harbor, harbor_folder):
    told = harbor.explain("REC-20200601", "summary")
    assert told.changes[0].text == "a run of the record makes count, mean first"
    shown = cli("explain", "-C", harbor_folder, "REC-20200601", "summary").stdout
    assert f"first: sinagot-catalog run {harbor_folder} --record REC-20200601\n" in shown


def test_a_group_that_waits_names_a_run_that_makes_its_members_first(write_workspace, cli):
    toml = """
    [steps]
    scripts = ["clean", "all"]
    [steps.clean]
    command = "cp {input} {output}"
    inputs = "raw/{id}"
    outputs = "clean/{id}"
    [steps.all]
    command = "sh all.sh {output} {input}"
    inputs = "clean/{id}"
    outputs = "all"
    by = []
    """
    folder = write_workspace(files=["raw/R1", "raw/R2"], toml=toml)
    (folder / "scripts/all.sh").write_text('out="$1"; shift; cat "$@" > "$out"')
    shown = cli("explain", "-C", folder, "dataset=all", "all").stdout
    command = f"sinagot-catalog run {folder} --record dataset=all --step all --upstream"
    assert f"a run with --upstream makes clean first: {command}\n" in shown
    assert cli(*command.split()[1:], "-q").stdout.startswith("3 done")


def test_a_stale_row_says_what_changed_since(make_workspace, script_source):
    ws = make_workspace({"clean": ("raw/{id}.csv", "out/{id}.csv")}, [RAW])
    ws.steps.run(mode="main_process", progress=False)
    assert ws.explain("R1", "clean").stale == ()
    Path(ws.data_path, RAW).write_text("longer than before")
    told = ws.refresh().explain("R1", "clean")
    assert told.stale == (f"{RAW} had 4 bytes and has 18",)
    assert told.changes[0].run == {"stale": True}
    script = Path(ws.scripts_path, "clean.py")
    script.write_text(script_source("raw/{id}.csv", "out/{id}.csv", VERSION="2"))
    assert ws.refresh().explain("R1", "clean").stale[0] == "VERSION of the script was None and is '2'"


def test_without_an_event_a_newer_input_makes_a_row_stale(explained):
    ws, _ = explained((RAW, OUT))
    later = Path(ws.data_path, OUT).stat().st_mtime + 10
    os.utime(Path(ws.data_path, RAW), (later, later))
    assert ws.refresh().explain("R1", "clean").stale == (f"{RAW} is newer than the oldest output",)


def test_stale_is_what_the_column_says(explained):
    for event in (None, "done"):
        for later in (-10, 10):
            ws, _ = explained((RAW, OUT), event)
            when = Path(ws.data_path, OUT).stat().st_mtime + later
            os.utime(Path(ws.data_path, RAW), (when, when))
            stale = ws.refresh().steps.filter(step="clean").select("stale")["stale"].item()
            assert bool(ws.explain("R1", "clean").stale) == stale


def test_a_script_that_cannot_be_read_decides_first(make_workspace):
    ws = make_workspace({"clean": ("raw/{id}", "out/{id}"), "broken": "def (:\n"}, ["raw/R1"])
    told = ws.explain("R1", "broken")
    assert (told.decided.number, told.status) == (0, "ERROR")
    assert "broken.py:1" in told.decided.evidence
    assert told.changes[0].text.startswith("mend the script")


def test_a_row_on_the_list_of_a_live_run_says_which(make_workspace):
    ws = make_workspace({"clean": ("raw/{id}", "out/{id}")}, ["raw/R1"])
    claim(ws)
    told = ws.explain("R1", "clean")
    assert told.status == "DATA_READY"
    assert told.held_by == ("run-1",)
    assert told.changes[0].text == "the end of run run-1"


def test_a_line_of_sinagot_itself_is_said_to_be_one(make_workspace):
    ws = make_workspace({"clean": ("raw/{id}", "out/{id}")}, ["raw/R1"])
    Path(ws.data_path, "LOG").mkdir()
    Path(ws.data_path, "LOG", "R1.log").write_text(
        '{"log_from": "script", "record_id": "R1", "scope": "record", "task": null, "modality": null, '
        '"step_label": "clean", "step_status": 20, "message": "Processing run", '
        '"time": "2020-12-01T10:11:12.123456"}\n'
    )
    told = ws.explain("R1", "clean")
    assert told.status == "PROCESSING"
    assert "a log of sinagot" in told.decided.evidence


def test_a_row_below_an_unreadable_folder_names_the_folder(write_workspace):
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "workspace")
        write_workspace({"clean": ("{id}/raw", "{id}/out")}, ["R1/raw", "R2/raw"]).rename(root)
        Path(folder).chmod(0o755)
        Path(root, "dataset", "R1").chmod(0o0)
        program = """if True:
            import os, sys
            from sinagot_catalog import Workspace
            ws = Workspace(sys.argv[1])
            ws.explain("R2", "clean")
            if os.getuid() == 0:
                os.setuid(65534)
            told = ws.refresh().explain("R1", "clean")
            print(told.status, told.decided.number, told.decided.evidence, told.changes[0].text)
        """
        done = subprocess.run(
            [sys.executable, "-c", program, root], capture_output=True, text=True, timeout=300, check=True
        )
        Path(root, "dataset", "R1").chmod(0o755)
    assert done.stdout == "None 2 R1 make R1 readable, then look again\n"


def test_a_record_without_files_can_be_explained_and_a_wrong_name_is_an_error(harbor):
    told = harbor.explain("REC-20200630", "count")
    assert (told.status, told.reason) == ("INIT", "missing raw/REC-20200630-raw.csv")
    with pytest.raises(NotFoundError, match="did you mean 'count'"):
        harbor.explain("REC-20200601", "cuont")
    with pytest.raises(NotFoundError, match="does not fit id_pattern"):
        harbor.explain("REC-1", "count")


def test_a_step_of_several_units_needs_its_task(lab):
    with pytest.raises(SelectionError, match="it is one of RS EEG, HDC EEG"):
        lab.explain("R1", "clean")
    assert lab.explain("R1", "clean", task="HDC").task == "HDC"
    assert lab.explain("R1", "alpha").modality == "EEG"
    with pytest.raises(SelectionError, match="is not a step of HDC"):
        lab.explain("R1", "alpha", task="HDC")
    assert "<pre>" in lab.explain("R1", "alpha")._repr_html_()


def test_the_command_prints_the_rules_and_commands_to_paste(cli, write_workspace):
    folder = write_workspace({"a": ("raw/{id}", "a/{id}", "fail")}, ["raw/R1"])
    cli("run", folder, "-q")
    done = cli("explain", "-C", folder, "R1", "a")
    assert done.returncode == 0
    assert done.stdout.startswith("R1 a: ERROR\n  ValueError: no boats on R1\nrules\n")
    assert "  5 yes the last attempt failed or was lost -> ERROR: ValueError: no boats on R1\n" in done.stdout
    assert f"a run tries it again: sinagot-catalog run {folder} --record R1 --step a\n" in done.stdout
    told = json.loads(cli("explain", "-C", folder, "R1", "a", "--json").stdout)
    assert told["attempt"]["error_type"] == "ValueError"
    assert "raise ValueError" in told["attempt"]["traceback"]
    wrong = cli("explain", "-C", folder, "R1", "b")
    assert wrong.returncode == 2
    assert "there is no step 'b'" in wrong.stderr


def test_the_command_names_task_and_modality_in_the_command_to_paste(cli, lab_folder):
    done = cli("explain", "-C", lab_folder(), "R1", "clean", "--task", "RS")
    line = next(line for line in done.stdout.splitlines() if "a run makes it: " in line)
    words = line.partition("sinagot-catalog ")[2]
    assert words.endswith("--where \"task = 'RS' AND modality = 'EEG'\"")


def test_each_rule_has_a_number_and_a_name_that_stay_the_same(explained):
    _, told = explained((RAW,))
    assert [(rule.number, rule.name, rule.status) for rule in told.rules] == [
        (0, "fault", "ERROR"),
        (9, "excluded", "EXCLUDED"),
        (2, "unknown", None),
        (1, "running", "PROCESSING"),
        (3, "half_published", "ERROR"),
        (4, "done", "DONE"),
        (5, "failed", "ERROR"),
        (6, "ready", "DATA_READY"),
        (7, "not_available", "DATA_NOT_AVAILABLE"),
        (8, "waiting", "INIT"),
    ]
    plain = json.loads(json.dumps(told.to_dict()))
    assert (plain["decided_by"], plain["rule"]) == (6, "ready")
    assert [rule["name"] for rule in plain["rules"] if rule["holds"]] == ["ready"]
    assert "  decided by rule 6: ready\n" in repr(told)


@pytest.mark.parametrize(
    ("pattern", "change"),
    [("out/{size}.csv", "mend the script"), ("raw/{id}.csv", "change its paths as the sentence says")],
)
def test_a_fault_of_a_script_and_refused_paths_have_the_same_rule_and_another_remedy(
    pattern, change, make_workspace
):
    ws = make_workspace({"clean": ("raw/{id}.csv", pattern), "seen": ("known/{id}", ())}, ["known/R1", RAW])
    told = ws.explain("R1", "clean")
    assert (told.decided.name, told.decided.number) == ("fault", 0)
    assert told.reason == told.decided.evidence
    assert told.changes[0].text == f"{change}; the next look reads it again"
    assert ws.steps.filter(step="clean").plan(force=True).frame["action"].to_list() == ["blocked"]


def test_a_row_without_outputs_that_was_accepted_is_explained_as_done(make_workspace, journal_of):
    ws = make_workspace({"check": ("raw/{id}.csv", ())}, [RAW])
    journal_of(ws, "check").write("accepted", "R1", inputs=[(0, 0)])
    told = ws.explain("R1", "check")
    assert ws.steps.collect()["status"].to_list() == ["DONE"]
    assert (told.status, told.decided.name, told.decided.status) == ("DONE", "done", "DONE")
    assert told.decided.evidence == "last event: accepted"


def test_the_only_step_of_a_workspace_needs_no_name(cli, write_workspace):
    folder = write_workspace({"a": ("raw/{id}.csv", "a/{id}")}, ["raw/R1.csv"])
    alone = cli("explain", "R1", "-C", folder)
    assert alone.returncode == 0
    assert alone.stdout == cli("explain", "R1", "a", "-C", folder).stdout
