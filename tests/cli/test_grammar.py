"""The words of the command line: one grammar of durations, short names of statuses, hints for near misses."""

import json
from datetime import timedelta

import fsspec
import pytest

from sinagot_catalog import Workspace
from sinagot_catalog.errors import SelectionError


@pytest.fixture
def chain(write_workspace):
    """Three steps, each reads what the one before made, and one that reads what two records made."""
    steps = {
        "a": ("raw/{id}", "a/{id}"),
        "b": ("a/{id}", "b/{id}"),
        "c": ("b/{id}", "c/{id}"),
        "other": ("raw/{id}", "other/{id}"),
    }
    return write_workspace(steps, ["raw/R1", "raw/R2"])


def actions(out):
    return [(row["record_id"], row["step"], row["action"]) for row in json.loads(out)]


def test_a_dry_run_is_the_plan_and_runs_nothing(said, chain):
    planned = said("plan", chain, "--step", "a", "--csv")
    for verb in ("run", "submit"):
        for word in ("-n", "--dry-run"):
            assert said(verb, chain, "--step", "a", "--csv", word) == planned
    assert not (chain / "dataset" / "LOG").exists()


def test_upstream_adds_what_makes_the_missing_inputs_and_nothing_else(said, chain):
    words = ("--record", "R1", "--step", "c", "--json")
    assert actions(said("plan", chain, *words)[1]) == [("R1", "c", "run")]
    code, out, err = said("run", chain, "--record", "R1", "--step", "c", "-q", "--mode", "main_process")
    assert (code, out[:14]) == (0, "1 without data")
    assert "--upstream runs them, too" in err
    whole = [("R1", "a", "run"), ("R1", "b", "run"), ("R1", "c", "run")]
    assert actions(said("plan", chain, *words, "--upstream")[1]) == whole
    code, out, _ = said("run", chain, *words, "--upstream", "-q", "-j", "1")
    assert code == 0
    assert [(row["step"], row["outcome"]) for row in json.loads(out)] == [
        ("a", "done"), ("b", "done"), ("c", "done"),
    ]  # fmt: skip
    assert sorted(one.name for one in (chain / "dataset").iterdir()) == ["LOG", "a", "b", "c", "raw"]
    assert [one.name for one in (chain / "dataset" / "c").iterdir()] == ["R1"]


def test_upstream_leaves_what_is_done_alone_even_with_force(said, chain):
    assert said("run", chain, "--record", "R1", "--step", "a", "-q", "--mode", "main_process")[0] == 0
    words = ("--record", "R1", "--step", "b", "--upstream", "--force", "--json")
    assert actions(said("plan", chain, *words)[1]) == [("R1", "b", "run")]


def test_upstream_finds_the_files_of_a_folder_and_of_other_records(make_workspace):
    steps = {
        "part": ("raw/{site}_{n}.csv", "parts/{site}/{n}.csv"),
        "site": ("parts/{site}/", "sites/{site}.csv"),
    }
    ws = make_workspace(
        steps,
        ["raw/a_1.csv", "raw/a_2.csv", "raw/b_1.csv"],
        id_pattern="(?P<site>[ab])_(?P<n>[12])",
    )
    plan = ws.records.get("a_1").steps.plan("site", upstream=True)
    run = plan.frame.filter(action="run").select("record_id", "step").rows()
    assert ("a_1", "part") in run
    assert not any(record_id.startswith("b") for record_id, _ in run)


@pytest.mark.parametrize("short", ["READY", "RUNNING", "NO_DATA", "ready", "no-data"])
def test_short_names_of_statuses_are_taken_by_the_option(said, chain, short):
    code, out, _ = said("plan", chain, "--status", short, "--json")
    assert code == 0
    assert len(json.loads(out)) == (4 if short.upper() == "READY" else 0)


def test_short_names_are_taken_by_keyword_and_sql_and_shown_in_tables(said, chain):
    ws = Workspace(chain)
    assert ws.steps.filter(status="READY").count() == 4
    assert ws.steps.sql_filter("status = 'READY'").count() == 4
    assert ws.steps.sql_filter("'READY' = status OR status NOT IN ('INIT', 'READY')").count() == 4
    assert ws.steps.sql_filter("status IN ('NO_DATA', 'RUNNING')").count() == 0
    assert ws.sql("SELECT * FROM steps s WHERE s.status IN ('READY')").collect().height == 4
    assert ws.steps.sql_filter("status <> 'READY'").count() == 4
    with pytest.raises(SelectionError, match="did you mean"):
        ws.steps.filter(status="REDY")
    _, out, _ = said("ls", "steps", "-C", chain)
    assert "READY" in out
    assert "DATA_READY" not in out
    assert '"DATA_READY"' in said("ls", "steps", "-C", chain, "--json")[1]


def test_rows_are_sorted_by_columns_up_and_down(said, chain):
    words = ("ls", "steps", "-C", chain, "--json", "--columns", "record_id,step")
    rows = json.loads(said(*words, "--sort", "-step,record_id", "--limit", "3")[1])
    assert rows == [
        {"record_id": "R1", "step": "other"},
        {"record_id": "R2", "step": "other"},
        {"record_id": "R1", "step": "c"},
    ]
    by_hidden = json.loads(said(*words, "--sort", "-status", "--limit", "1")[1])
    assert by_hidden[0]["step"] in ("a", "other")
    links = json.loads(said("ls", "links", "-C", chain, "--json", "--sort", "-path", "--limit", "1")[1])
    assert links[0]["path"] == "raw/R2"
    for table in ("steps", "links"):
        code, _, err = said("ls", table, "-C", chain, "--sort", "stepp")
        assert code == 2
        assert "did you mean 'step'" in err


@pytest.mark.parametrize(
    ("text", "days"), [("0s", 0), ("90m", 0.0625), ("36h", 1.5), ("90d", 90), ("12w", 84), ("0", 0)]
)
def test_every_unit_of_time_is_taken_by_gc(said, chain, text, days):
    assert said("gc", chain, "--older-than", text)[0] == 0
    assert said("gc", chain, "--keep", text, "--json")[0] == 0
    assert Workspace(chain).gc(timedelta(days=days)).events == 0


def test_an_age_without_a_unit_deletes_nothing_and_asks_which(said, chain):
    assert said("run", chain)[0] == 0
    events = Workspace(chain).events().height
    assert events
    for option in ("--older-than", "--keep"):
        code, _, err = said("gc", chain, option, "1")
        assert (code, "--older-than: '1' has no unit: write 1d for days, 1h for hours" in err) == (2, True)
    for age in ("1", 1):
        with pytest.raises(SelectionError, match=r"older_than: '?1'? has no unit"):
            Workspace(chain).gc(age)
    assert Workspace(chain).events().height == events


@pytest.mark.parametrize(
    "words",
    [
        ("gc", "--older-than", "90x"),
        ("watch", "--run", "--once", "--interval", "soon"),
        ("watch", "--run", "--once", "--stable-for", "-1s"),
        ("status", "--follow", "5parsecs"),
        ("serve", "--name", "x", "--every", "1y"),
    ],
)
def test_what_is_no_duration_is_named_with_its_option(said, chain, words):
    code, _, err = said(words[0], chain, *words[1:])
    assert code == 2
    assert "is not a duration such as 90s, 10m, 2h, 7d or 1w" in err
    assert words[-2] in err


@pytest.mark.parametrize("option", ["interval", "stable_for"])
def test_durations_in_python_may_have_units_and_wrong_ones_are_named(chain, option):
    steps = Workspace(chain).steps
    assert len(list(steps.watch("a", submit=False, once=True, **{"stable_for": "0s", option: "0s"}))) == 1
    with pytest.raises(SelectionError, match=f"{option}: 'x' is not a duration"):
        steps.watch(**{option: "x"})
    with pytest.raises(SelectionError, match="older_than: '1 y' is not a duration"):
        Workspace(chain).gc("1 y")


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("run", "--where", 'status = "DONE"'), "In SQL a text has single quotes: 'DONE'"),
        (("ls", "steps", "--where", 'status = "READY"'), "In SQL a text has single quotes: 'READY'"),
        (("run", "--workers", "0"), "'0' is not a number of processes from 1 up; by default one per core"),
        (("deploy", "--name", "nightly"), "unknown argument '--name'; NAME is written without an option"),
        (("run", "-j", "two"), "--workers: 'two' is not a number of processes"),
        (("explain", "a", "R1"), "sinagot-catalog explain -C {folder} R1 a"),
        (("ls", "./none"), "./none is not a workspace: it has no workspace.toml"),
        (("ls", "steps", "more"), "'more' has no place here"),
        (("run", "--yes", "a", "b"), "write --step NAME for a step and --record ID for a record"),
        (("ls", "--where", 'record_id = "R1"'), "In SQL a text has single quotes: 'R1'"),
        (("ls", "steps", "--where", 'step = "a"'), "In SQL a text has single quotes: 'a'"),
        (("run", "--stale=cod"), "--stale: 'cod' is not 'code'; did you mean 'code'?"),
        (("run", "--mode", "main_proces"), "did you mean 'main_process'"),
        (("watch", "--run", "--submit"), "not allowed with argument --submit"),
        (("explain", "R1"), "STEP is missing"),
        (("gc", "--kep", "1d"), "did you mean '--keep'"),
    ],
)
def test_near_misses_get_a_hint(said, chain, words, hint):
    words = [word.format(folder=chain) for word in words]
    place = [] if words[-1] == str(chain) else ["-C", chain]
    code, _, err = said(*words, *place)
    assert code == 2
    assert hint.format(folder=chain) in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    "verb", ["status", "plan", "accept", "snapshot", "diff", "report", "doctor", "gc", "logs", "ls"]
)
def test_the_workspace_is_named_before_or_after_the_verb(said, chain, verb, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    more = {"accept": ["--all"]}.get(verb, [])
    if verb == "diff":
        said("snapshot", "-C", chain)
    assert said(verb, *more, "-C", chain)[0] == 0
    assert said("-C", chain, verb, *more)[0] == 0


@pytest.mark.parametrize(
    "line",
    [
        "ls {} --limit 1",
        "ls steps {}",
        "logs {}",
        "logs R1 {} --failed",
        "explain R1 a {} --json",
        "exclude R1 --reason fog {}",
        "include R1 {}",
    ],
)
def test_the_workspace_is_the_last_argument_of_verbs_with_other_arguments(said, chain, line, monkeypatch):
    monkeypatch.chdir(chain.parent)
    toml = chain / "workspace.toml"
    toml.write_text(toml.read_text().replace("[records]", "[records]\nexclude = 'exclude.csv'"))
    for place in (chain, toml):
        if line.startswith("include"):
            said("exclude", "R1", "--reason", "fog", "-C", chain)
        code, out, err = said(*line.format(place).split())
        assert (code, "error" in err) == (0, False), err
        assert out or line.startswith("logs")


def test_a_word_after_an_option_is_its_value_and_no_workspace(said, chain, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = said("ls", "--columns", chain)
    assert code == 2
    assert "there is no workspace.toml" in err
    assert "two workspaces" in said("status", chain, "-C", tmp_path)[2]
    assert "two workspaces" in said("ls", chain, "-C", tmp_path)[2]
    assert "two workspaces" in said("-C", tmp_path, "ls", chain)[2]


def test_the_url_of_a_file_is_no_workspace_where_explain_needs_it(said, tmp_path, monkeypatch):
    fsspec.filesystem("memory").pipe_file("/told/raw/R1.txt", b"x")
    steps = "[steps]\nscripts = ['a']\n[steps.a]\ncommand = 'cp {input} {output}'\n"
    steps += "inputs = 'raw/{id}.txt'\noutputs = 'a/{id}.txt'\n"
    config = f"[path]\ndataset = 'memory://told'\n[records]\nid_pattern = 'R1'\n{steps}"
    (tmp_path / "workspace.toml").write_text(config)
    (tmp_path / "scripts").mkdir()
    expected = said("explain", "raw/R1.txt", "-C", tmp_path)
    assert expected[0] == 0
    for words in (["-C", tmp_path], [tmp_path]):
        assert said("explain", "memory://told/raw/R1.txt", *words) == expected
    monkeypatch.chdir(tmp_path)
    assert said("explain", "memory://told/raw/R1.txt") == expected
    assert said("logs", "--failed")[0] == 0


def test_init_takes_its_folder_as_an_option_too(said, tmp_path):
    assert said("init", "-C", tmp_path / "new")[0] == 0
    assert (tmp_path / "new" / "workspace.toml").is_file()
    code, _, err = said("init", "a", "-C", "b")
    assert code == 2
    assert "two folders are named: a and b" in err


def test_old_names_work_for_one_release_with_a_warning(chain):
    ws = Workspace(chain)
    with pytest.warns(DeprecationWarning, match=r"gc\(keep=...\) is now gc\(older_than=...\)"):
        ws.gc(keep="90d")
    with pytest.warns(DeprecationWarning, match=r"watch\(settle=...\) is now watch\(stable_for=...\)"):
        assert len(list(ws.steps.watch("a", submit=False, once=True, settle=0))) == 1
    with pytest.warns(DeprecationWarning, match=r"watch\(every=...\) is now watch\(interval=...\)"):
        ws.steps.watch("a", submit=False, once=True, every=1)
    with (
        pytest.warns(DeprecationWarning, match=r"submit\(say=...\) is now submit\(on_message=...\)"),
        pytest.raises(SelectionError),
    ):
        ws.steps.submit("nowhere", say=print)
    with pytest.raises(TypeError, match="both keep= and older_than="):
        ws.gc(keep="90d", older_than="90d")
    with pytest.raises(TypeError, match="there is no option 'limt'; did you mean 'limit'"):
        ws.steps.run(limt=3)


@pytest.mark.parametrize(
    ("words", "said_of"),
    [
        (("deploy", "nightly", "--pool", "p", "--env", "X"), "--env: 'X' is not a variable with a value"),
        (("serve", "--name", "n", "--every", "10m", "--cron", "0 2 * * *"), "cron and every are both given"),
        (("serve", "--name", "n", "--timezone", "Europe/Paris"), "without a cron text"),
        (("deploy", "a/b", "--pool", "p"), "'a/b' is not a name of a deployment"),
        (("deploy", "n", "--pool", "p", "--concurrency", "0"), "concurrency: 0 is not a whole number"),
        (("deploy", "n", "--pool", "p", "--step", "aa", "-j", "2", "--tag", "x"), "there is no step 'aa'"),
        (("deploy", "nightly"), "--pool is missing"),
    ],
)
def test_a_deployment_is_checked_before_prefect_is_asked(said, chain, words, said_of):
    code, _, err = said(*words, "-C", chain)
    assert code == 2
    assert said_of in err


@pytest.mark.parametrize("verb", ["run", "plan", "status", "accept"])
def test_an_id_as_the_last_word_is_told_how_a_record_is_named(said, chain, verb, monkeypatch, tmp_path):
    monkeypatch.chdir(chain)
    code, _, err = said(verb, "R1")
    assert (code, "A record is named with --record R1, a step with --step R1." in err) == (2, True)
    monkeypatch.chdir(tmp_path)
    assert "--record" not in said(verb, "R1")[2]


@pytest.mark.parametrize(
    ("words", "told", "verb"),
    [
        (["submit", "--deployment"], "--deployment: a value is missing after it", "submit"),
        (["ls", "--columns"], "--columns: a value is missing after it", "ls"),
        (["ui", "--port", "99999"], "--port: '99999' is not a port: a number from 0 to 65535", "ui"),
        (["ui", "--port", "x"], "--port: 'x' is not a port: a number from 0 to 65535", "ui"),
    ],
)
def test_a_wrong_value_is_a_sentence_with_the_help_of_its_verb(cli, words, told, verb):
    done = cli(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: {told}\nTry `sinagot-catalog {verb} --help`.\n"


def test_a_page_in_place_of_a_workspace_is_told_how_it_is_written(cli, harbor_folder):
    told = cli("report", "page.html", cwd=harbor_folder)
    assert told.returncode == 2
    assert "To write the page to this file: -o page.html" in told.stderr


def test_a_watch_with_nothing_to_do_says_so(cli, write_workspace):
    folder = write_workspace({"a": ("raw/{id}", "a/{id}")})
    done = cli("watch", folder, "--run", "--once", "--stable-for", "0s")
    assert (done.returncode, done.stdout) == (0, "")
    assert "nothing is ready" in done.stderr


def test_gc_says_when_there_is_nothing_to_delete(cli, harbor_folder):
    assert cli("gc", harbor_folder).stdout == "there was nothing to delete\n"
