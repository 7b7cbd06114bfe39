"""Options that are given again: a filter narrows further; steps, statuses and records widen."""

import json

import pytest


@pytest.fixture
def folder(write_workspace):
    scripts = {name: ("raw/{id}", f"{name}/{{id}}") for name in ("a", "b", "c")}
    return write_workspace(scripts, [f"raw/R{n}" for n in range(4)])


def rows(done):
    return [(row["record_id"], row["step"]) for row in json.loads(done.stdout)]


def test_filters_narrow_further_in_every_verb(cli, folder):
    twice = [
        "--where",
        "record_id > 'R0' OR step = 'a'",
        "--where",
        "step IN ('b', 'c')",
        "--where",
        "step <> 'c'",
    ]
    expected = [("R1", "b"), ("R2", "b"), ("R3", "b")]
    assert rows(cli("plan", folder, "--json", *twice)) == expected
    assert rows(cli("ls", "steps", "-C", folder, "--json", *twice)) == expected
    told = json.loads(cli("status", folder, "--json", *twice).stdout)
    assert (told["totals"]["total"], told["next"]["rows"]) == (3, 3)
    assert rows(cli("run", folder, "--json", "--force", *twice)) == expected
    assert sorted(path.name for path in (folder / "dataset").iterdir()) == ["LOG", "b", "raw"]


def test_the_next_command_has_all_of_the_filters(cli, folder):
    told = json.loads(
        cli("status", folder, "--json", "--where", "step = 'b'", "--where", "record_id = 'R2'").stdout
    )
    words = "--where \"(step = 'b') AND (record_id = 'R2')\""
    assert told["next"]["command"].endswith(words)


def test_steps_widen_in_every_verb(cli, folder):
    twice = ["--step", "a", "--step", "c"]
    expected = {("R1", "a"), ("R1", "c")}
    one = ["--record", "R1"]
    assert set(rows(cli("plan", folder, "--json", *twice, *one))) == expected
    status = cli("status", folder, *twice)
    assert "2 steps" in status.stdout
    assert "--step a --step c" in status.stdout
    done = cli("run", folder, "--json", *twice, *one)
    assert set(rows(done)) == expected
    assert {event["step"] for event in json.loads(cli("logs", "-C", folder, *twice, "--json").stdout)} == {
        "a",
        "c",
    }
    wrong = cli("run", folder, "--step", "a", "--step", "cc")
    assert wrong.returncode == 2
    assert "there is no step 'cc'" in wrong.stderr


def test_records_and_statuses_widen(cli, folder):
    done = cli("run", folder, "--json", "--record", "R1", "--record", "R3", "--step", "b")
    assert rows(done) == [("R1", "b"), ("R3", "b")]
    both = ["--status", "done", "--status", "data_ready", "--record", "R1"]
    assert rows(cli("plan", folder, "--json", *both)) == [("R1", "a"), ("R1", "b"), ("R1", "c")]
    assert rows(cli("plan", folder, "--json", "--status", "done")) == [("R1", "b"), ("R3", "b")]
    events = json.loads(cli("logs", "R1", "-C", folder, "--record", "R3", "--json").stdout)
    assert {event["record_id"] for event in events} == {"R1", "R3"}


def test_a_record_without_a_file_is_named_beside_others(cli, folder):
    done = cli("run", folder, "--record", "R1", "--record", "R77", "--step", "b")
    assert "1 done, 1 without data" in done.stdout
    assert "1 of 2 records has no file, such as 'R77'" in done.stderr


def test_several_steps_are_run_by_name_in_python(make_workspace):
    scripts = {name: ("raw/{id}", f"{name}/{{id}}") for name in ("a", "b", "c")}
    ws = make_workspace(scripts, ["raw/R1", "raw/R2"])
    report = ws.steps.run(["a", "c"], mode="main_process", progress=False)
    assert sorted(report.frame.select("record_id", "step").rows()) == [
        ("R1", "a"),
        ("R1", "c"),
        ("R2", "a"),
        ("R2", "c"),
    ]
    assert ws.steps.plan([]).frame.is_empty()
