"""`exclude` and `include`: decisions on the command line."""

import json

import pytest

TOML = """
[records]
id_pattern = 'R\\d'
exclude = "exclude.csv"
[tasks.RS]
modalities = ["EEG"]
[tasks.HDC]
modalities = ["EEG"]
[modalities.EEG]
scripts = ["clean", "alpha"]
"""


@pytest.fixture
def lab(write_workspace):
    """Two tasks of one modality, three records."""
    return write_workspace(
        {
            "EEG/clean": ("raw/{id}-{task}", "clean/{id}-{task}"),
            "EEG/alpha": ("clean/{id}-{task}", "alpha/{id}-{task}"),
        },
        [f"raw/R{n}-{task}" for n in (1, 2, 3) for task in ("RS", "HDC")],
        toml=TOML,
    )


def rows(folder):
    return [line.rsplit(",", 2)[0] for line in (folder / "exclude.csv").read_text().splitlines()[1:]]


def test_records_are_excluded_and_included(said, lab):
    code, out, err = said("exclude", "R1", "R2", "--reason", "flat Cz, twice", "-C", lab)
    assert (code, out, err) == (0, "2 excluded: R1, R2\n", "")
    assert rows(lab) == ['R1,,,,"flat Cz, twice"', 'R2,,,,"flat Cz, twice"']
    assert said("include", "R1", "-C", lab)[:2] == (0, "1 included: R1\n")
    assert rows(lab) == ['R2,,,,"flat Cz, twice"']


@pytest.mark.parametrize(
    ("words", "written"),
    [
        (["--step", "alpha"], "R1,,,alpha,x"),
        (["--task", "RS"], "R1,RS,,,x"),
        (["--task", "RS", "--modality", "EEG", "--step", "clean"], "R1,RS,EEG,clean,x"),
    ],
)
def test_options_narrow_what_is_excluded_and_included(said, lab, words, written):
    assert said("exclude", "R1", *words, "--reason", "x", "-C", lab)[0] == 0
    assert rows(lab) == [written]
    assert said("include", "R1", *words, "-C", lab)[0] == 0
    assert rows(lab) == []


def test_a_filter_chooses_the_records(said, lab):
    code, out, _ = said("exclude", "--where", "record_id > 'R1'", "--reason", "x", "--json", "-C", lab)
    assert code == 0
    assert [(row["record_id"], row["step"], row["excluded"]) for row in json.loads(out)] == [
        ("R2", None, True),
        ("R3", None, True),
    ]
    assert said("include", "--where", "record_id = 'R2'", "-C", lab)[1] == "1 included: R2\n"


def test_a_condition_that_fits_no_group_is_answered_with_what_to_name(said, write_workspace):
    toml = """
    [records]
    id_pattern = 'R\\d'
    exclude = "exclude.csv"
    [steps]
    scripts = ["all"]
    [steps.all]
    command = "cat {input}"
    inputs = "raw/{id}"
    outputs = "all"
    by = []
    """
    folder = write_workspace({}, ["raw/R1", "raw/R2"], toml=toml)
    code, out, err = said("exclude", "--where", "n_files > 5", "--step", "all", "--reason", "x", "-C", folder)
    assert (code, out) == (0, "0 excluded\n")
    assert "all has a row per group" in err


def test_status_run_and_ls_tell_of_excluded_rows(said, lab):
    assert "EXCLUDED" not in said("status", lab)[1]
    said("exclude", "R1", "--task", "RS", "--step", "clean", "--reason", "asleep", "-C", lab)
    code, out, _ = said("run", lab, "-q", "--mode", "main_process")
    assert (code, out.partition(" in ")[0]) == (0, "10 done, 2 excluded")
    code, out, _ = said("status", lab)
    assert "everything is done; 2 rows are excluded" in out
    totals = json.loads(said("status", lab, "--json")[1])["totals"]
    assert (totals["done"], totals["excluded"], totals["total"]) == (10, 2, 12)
    found = json.loads(said("ls", "steps", "-C", lab, "--where", "status = 'EXCLUDED'", "--json")[1])
    assert [(row["task"], row["step"], row["reason"]) for row in found] == [
        ("RS", "clean", "excluded: asleep"),
        ("RS", "alpha", "excluded: made from clean (asleep)"),
    ]
    code, out, _ = said("run", lab, "--status", "excluded", "-q")
    assert code == 0
    assert "excluded: asleep" in out
    assert said("explain", "R1", "clean", "--task", "RS", "-C", lab)[1].count("asleep") == 2


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["exclude", "R9", "--reason", "x"], "there is no record 'R9'"),
        (["exclude", "R1", "--step", "aplha", "--reason", "x"], "did you mean 'alpha'"),
        (["exclude", "R1", "--task", "RX", "--reason", "x"], "RX"),
        (["exclude", "R1"], "--reason is missing"),
        (["exclude", "R1", "--reason", " "], "no reason is given"),
        (["exclude", "--reason", "x"], "no record is named"),
        (["exclude", "--where", "age > 3", "--reason", "x"], "age"),
        (["include"], "no record is named"),
        (["include", "R9"], "no record and no exclusion has the id 'R9'"),
    ],
)
def test_a_mistake_is_told_and_writes_nothing(said, lab, words, hint):
    code, _, err = said(*words, "-C", lab)
    assert code == 2
    assert hint in err
    assert "Traceback" not in err
    assert not (lab / "exclude.csv").exists()


def test_an_exclusion_of_a_record_that_is_gone_is_included_by_its_id(said, lab):
    (lab / "exclude.csv").write_text("record_id,reason\nR9,gone\nR1,fog\n")
    assert "R9 (line 2)" in said("status", lab)[2]
    assert said("include", "R9", "-C", lab)[:2] == (0, "1 included: R9\n")
    assert (lab / "exclude.csv").read_text() == "record_id,reason\nR1,fog\n"


def test_what_stays_is_told(said, lab):
    (lab / "exclude.csv").write_text("record_id\nR1\n")
    code, out, err = said("include", "R1", "--step", "alpha", "-C", lab)
    assert (code, out) == (0, "0 included\n")
    assert "line 2 excludes further rows, too" in err


def test_a_config_without_the_key_is_told_that_nothing_is_excluded_yet(said, write_workspace):
    folder = write_workspace({"one": ("raw/{id}", "one/{id}")}, ["raw/R1", "raw/R2"])
    code, out, err = said("exclude", "R1", "--reason", "x", "-C", folder)
    assert (code, err) == (0, "")
    first, second = out.splitlines()
    assert first == "0 excluded; written to exclude.csv: R1"
    assert second.startswith('exclude.csv has no effect yet: add exclude = "exclude.csv" to [records] in ')
    code, out, err = said("exclude", "R1", "R2", "--reason", "y", "--json", "-C", folder)
    assert [(row["record_id"], row["excluded"], row["reason"]) for row in json.loads(out)] == [
        ("R1", False, "in exclude.csv already: x"),
        ("R2", False, "written to exclude.csv"),
    ]
    assert "has no effect yet" in err
    toml = folder / "workspace.toml"
    toml.write_text(toml.read_text().replace("[records]", '[records]\nexclude = "exclude.csv"'))
    assert "2 rows are excluded, such as R1 one: excluded: x" in said("run", folder, "-q")[1]


def test_nothing_runs_and_doctor_fails_while_the_file_cannot_be_read(said, lab):
    (lab / "exclude.csv").write_text("record_id,reason\nR1,a,b\n")
    for words in (["run", lab, "-q"], ["plan", lab], ["doctor", lab]):
        code, out, err = said(*words)
        assert code == 2
        assert "line 2 has 3 values, and the header 2 columns" in out + err
    code, _, err = said("status", lab)
    assert code == 0
    assert "nothing runs until it can be read" in err


@pytest.mark.usefixtures("prefect_server")
def test_watch_leaves_excluded_rows_out(said, lab):
    said("exclude", "R1", "--reason", "x", "-C", lab)
    code, out, err = said("watch", lab, "--once")
    assert code == 0, err
    assert not (lab / "dataset/clean/R1-RS").exists()
    assert (lab / "dataset/clean/R2-RS").exists(), out
