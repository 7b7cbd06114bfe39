"""`sinagot-catalog logs`."""

import json
import shlex


def test_what_scripts_said_comes_oldest_first(cli, write_workspace):
    body = "self.logger.info('saw %s', self.id); self.path.output.write_text('x')"
    folder = write_workspace({"a": ("raw/{id}", "a/{id}", body)}, ["raw/R1", "raw/R2"])
    none = cli("logs", "-C", folder)
    assert (none.returncode, none.stdout) == (0, "")
    assert "no run has written anything about this yet" in none.stderr
    cli("run", folder, "-q")
    done = cli("logs", "R1", "-C", folder, "--step", "a")
    assert [line.split("  ", 1)[1] for line in done.stdout.splitlines()] == [
        "R1 a  Processing run", "R1 a  saw R1", "R1 a  Run finished",
    ]  # fmt: skip
    assert len(cli("logs", "-C", folder, "--limit", "2").stdout.splitlines()) == 2
    events = json.loads(cli("logs", "R2", "-C", folder, "--json").stdout)
    assert [event["event"] for event in events] == ["start", "log", "done"]


def test_failed_shows_the_failure_of_each_row_whose_last_attempt_failed(cli, write_workspace):
    body = "print('looking'); raise ValueError(f'no boats on {self.id}')"
    folder = write_workspace({"a": ("raw/{id}", "a/{id}", body), "b": "syntax error"}, ["raw/R1", "raw/R2"])
    for _ in range(2):
        cli("run", folder, "-q")
    (folder / "dataset" / "a").mkdir(exist_ok=True)
    (folder / "dataset" / "a" / "R2").touch()
    done = cli("logs", "-C", folder, "--failed")
    assert done.stdout.count("R1 a  ValueError: no boats on R1\n") == 1
    assert done.stdout.count("R2 a  ValueError: no boats on R2\n") == 1  # also where its output is there
    assert "    Traceback (most recent call last):\n" in done.stdout
    assert "    looking\n" in done.stdout
    assert "R1 b  " in done.stdout
    assert "scripts/b.py" in done.stdout
    wrong = cli("logs", "-C", folder, "--step", "aa")
    assert wrong.returncode == 2
    assert "there is no step 'aa'; did you mean 'a'?" in wrong.stderr


def test_failures_are_grouped_with_the_command_that_runs_them_again(cli, write_workspace):
    body = """
        import pathlib
        if self.id < "R3":
            raise ValueError(f"it's {self.id} in {self.path.input}: 100% lost")
        if self.id < "R5":
            raise KeyError("boat")
        pathlib.Path(self.path.output).write_text("x")
    """
    folder = write_workspace({"a": ("raw/{id}", "a/{id}", body)}, [f"raw/R{n}" for n in range(6)])
    assert cli("run", folder, "-q").returncode == 3
    done = cli("logs", "-C", folder, "--failed", "--group")
    assert done.returncode == 0
    first, second = json.loads(cli("logs", "-C", folder, "--group", "--json").stdout)
    assert (first["n"], first["error_type"], first["examples"]) == (3, "ValueError", "R0; R1; R2")
    assert (second["n"], second["error_type"]) == (2, "KeyError")
    assert f"     3  a  ValueError: {first['message']}\n" in done.stdout
    for one in (first, second):
        assert one["command"] in done.stdout
        words = shlex.split(one["command"])[1:]
        planned = json.loads(cli("plan", *words[1:], "--json").stdout)
        assert len(planned) == one["n"]


def test_failures_that_name_their_records_are_of_one_kind(cli, write_workspace):
    ids = ["Käthe M_pre", "O'Brien_post", "Nguyen_pre", "post_Ann"]
    body = "raise ValueError(f'no annotation of {self.id} yet')"
    folder = write_workspace(
        {"a": ("raw/{id}", "a/{id}", body)}, [f"raw/{one}" for one in ids], id_pattern=r"[^/]+"
    )
    run = cli("run", folder, "-q")
    assert "(4 rows like this)" in run.stderr
    (kind,) = json.loads(cli("logs", "-C", folder, "--group", "--json").stdout)
    assert (kind["n"], kind["message"]) == (4, "no annotation of … yet")
    stopped = json.loads(
        cli("run", folder, "-q", "--mode", "main_process", "--stop-after", "2", "--json").stdout
    )
    assert [row["outcome"] for row in stopped] == ["error", "error", "cancelled", "cancelled"]


def test_the_command_of_a_kind_of_failure_runs_no_rows_of_another(cli, write_workspace):
    body = """
        n = int(self.id[1:])
        raise ValueError(f"bad x_{n}" if n < 3 else f"bad xy{n} and more")
    """
    folder = write_workspace({"a": ("raw/{id}", "a/{id}", body)}, [f"raw/R{n}" for n in range(5)])
    assert cli("run", folder, "-q").returncode == 3
    ran = []
    for kind in json.loads(cli("logs", "-C", folder, "--group", "--json").stdout):
        words = shlex.split(kind["command"])[2:]
        ran.append([row["record_id"] for row in json.loads(cli("plan", *words, "--json").stdout)])
    assert ran == [["R0", "R1", "R2"], ["R3", "R4"]]
    (one,) = json.loads(cli("logs", "R1", "-C", folder, "--group", "--json").stdout)
    words = shlex.split(one["command"])[2:]
    assert [row["record_id"] for row in json.loads(cli("plan", *words, "--json").stdout)] == ["R1"]


def test_the_command_of_named_records_runs_no_others_however_many_they_are(cli, write_workspace):
    ids = [f"R{n:060d}" for n in range(50)]
    body = "raise ValueError(f'bad {int(self.id[1:])}')"
    folder = write_workspace({"a": ("raw/{id}", "a/{id}", body)}, [f"raw/{one}" for one in ids])
    assert cli("run", folder, "-q").returncode == 3
    named = [word for one in ids[:40] for word in ("--record", one)]
    (kind,) = json.loads(cli("logs", "-C", folder, "--group", "--json", *named).stdout)
    words = shlex.split(kind["command"])[2:]
    planned = json.loads(cli("plan", *words, "--json").stdout)
    assert [row["record_id"] for row in planned] == ids[:40]


def test_run_shows_the_lines_of_that_run_only(cli, make_workspace):
    body = "self.logger.info('looked'); self.path.output.write_text('x')"
    ws = make_workspace({"a": ("raw/{id}", "a/{id}", body)}, ["raw/R1"])
    first, second = (ws.steps.run(force=True, progress=False).run_id for _ in range(2))
    done = cli("logs", "-C", ws.config.root, "--run", second)
    assert [line.split("  ", 1)[1] for line in done.stdout.splitlines()] == [
        "R1 a  Processing run", "R1 a  looked", "R1 a  Run finished",
    ]  # fmt: skip
    events = json.loads(cli("logs", "R1", "-C", ws.config.root, "--run", first, "--json").stdout)
    assert [(event["run_id"], event["event"]) for event in events] == [
        (first, event) for event in ("start", "log", "done")
    ]
    none = cli("logs", "-C", ws.config.root, "--run", "no-such-run")
    assert (none.returncode, none.stdout) == (0, "")
    assert "no run has written anything about this yet" in none.stderr
