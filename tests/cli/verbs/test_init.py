"""`sinagot-catalog init`."""

import filecmp
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sinagot_catalog import Workspace
from sinagot_catalog.diagnostics.id_proposal import propose
from sinagot_catalog.patterns.id_pattern import IdPattern, is_safe_id

EXAMPLE = Path(__file__).parents[3] / "example" / "harbor"


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


@pytest.mark.parametrize(
    ("pattern", "files", "made_of"),
    [
        (
            "images/{date}/{shot}.png",
            ["images/20260101/cam1_001.png", "images/20260102/cam1_002.png", "images/20260102/cam1_002.json"],
            {r"(?P<date>\d{8})_(?P<shot>cam\d_\d{3})": ["20260101_cam1_001", "20260102_cam1_002"]},
        ),
        (
            "raw/{mouse}/{day}/data.csv",
            ["raw/m1/2026-01-01/data.csv", "raw/m22/2026-01-02/data.csv", "raw/m22/2026-01-02/more.csv"],
            {r"(?P<mouse>m\d{1,2})_(?P<day>\d{4}-\d{2}-\d{2})": ["m1_2026-01-01", "m22_2026-01-02"]},
        ),
        (
            "{a}/{b}.csv",
            ["x_y/z.csv", "x/y_z.csv", "dataset.csv"],
            {"": ["x__y_z", "x_y__z"]},
        ),
    ],
)
def test_a_workspace_around_files_in_folders_finds_records_by_their_fields(
    cli, tmp_path, pattern, files, made_of
):
    id_pattern, ids = next(iter(made_of.items()))
    write(tmp_path, *files)
    made = cli("init", "--from-files", pattern)
    assert made.returncode == 0, made.stderr
    assert f"{len(ids)} records: {', '.join(ids)}" in made.stderr
    assert "results (lines), the journal (LOG) and scripts go beside the files" in made.stderr
    ws = Workspace(tmp_path)
    assert ws.records.ids() == ids
    assert id_pattern in ("", ws.config.ids.text)
    assert cli("run", "-q").stdout.startswith(f"{len(ids)} done in ")
    assert sorted(one.stem for one in (tmp_path / "lines").iterdir()) == ids


def test_fields_of_a_proposed_id_stand_as_in_the_names(cli, tmp_path):
    write(tmp_path, "sub-01/sub-01_task-rest.edf", "sub-02/ses-b/sub-02_ses-b_task-rest_run-1.edf")
    made = cli("init", "--from-files", "sub-{sub}/ses-{ses?}/sub-{sub}_ses-{ses?}_task-{kind}_run-{run?}.edf")
    assert "2 records: sub-01_task-rest, sub-02_ses-b_task-rest_run-1\n" in made.stderr


def test_all_names_of_a_dump_are_records_but_hidden_ones(cli, tmp_path):
    names = ["R1.dat", "rec-2.dat", "rec-2 (1).dat", "R1 - copy.dat", "Copy of rec-2.dat", "._R1.dat"]
    write(tmp_path, *(f"raw/{name}" for name in names))
    made = cli("init", "--from-files", "raw/{id}.dat")
    assert "5 records: Copy of rec-2, R1, R1 - copy …\n" in made.stderr
    assert Workspace(tmp_path).records.count() == len(names) - 1


def test_a_star_is_answered_with_a_field(cli, tmp_path):
    write(tmp_path, "raw/m1_001.avi", "raw/m1_002.avi")
    refused = cli("init", "--from-files", "raw/{mouse}_*.avi")
    assert refused.returncode == 2
    assert "Write a field in its place: 'raw/{mouse}_{part}.avi'." in refused.stderr
    several = cli("init", "--from-files", "*/{part}_*.avi")
    assert "Write a field in its place: '{part2}/{part}_{part3}.avi'." in several.stderr
    assert cli("init", "--from-files", "raw/{mouse}_{part}.avi").returncode == 0


def test_a_workspace_around_sessions_and_tasks_works_at_once(cli, tmp_path):
    sessions = {"sub-01/": "sub-01", "sub-02/ses-1/": "sub-02_ses-1", "sub-02/ses-2/": "sub-02_ses-2"}
    for folder, record in sessions.items():
        write(
            tmp_path / "dataset", *(f"{folder}eeg/{record}_task-{task}_eeg.edf" for task in ("rest", "eyes"))
        )
    pattern = "sub-{sub}/ses-{ses?}/eeg/sub-{sub}_ses-{ses?}_task-{task}_eeg.edf"
    made = cli("init", "--from-files", pattern)
    assert made.returncode == 0, made.stderr
    assert "task: eyes, rest" in made.stderr
    ws = Workspace(tmp_path)
    assert ws.records.ids() == sorted(sessions.values())
    assert list(ws.config.tasks) == ["eyes", "rest"]
    assert list(ws.config.modalities) == ["eeg"]
    assert cli("run", "-q").stdout.startswith("6 done in ")
    assert (tmp_path / "dataset" / "lines" / "sub-02_ses-2_rest.txt").read_text() == "2\n"
    assert "everything is done" in cli("status").stdout


def test_modalities_are_read_from_files(cli, tmp_path):
    write(tmp_path / "dataset", "R1/eeg.csv", "R1/behavior.csv", "R2/eeg.csv")
    assert cli("init", "--from-files", "{id}/{modality}.csv").returncode == 0
    ws = Workspace(tmp_path)
    assert list(ws.config.modalities) == ["behavior", "eeg"]
    assert cli("run", "-q").stdout.startswith("3 done in ")


def test_in_a_folder_with_files_no_recordings_are_invented(cli, tmp_path):
    write(tmp_path, "raw/A-01.csv", "raw/A-02.csv", "notes.txt")
    made = cli("init")
    assert made.returncode == 0
    assert made.stdout == f"made {tmp_path / 'workspace.toml'}\n"
    assert "holds 3 files already, such as notes.txt: no recordings were made" in made.stderr
    assert "sinagot-catalog init --from-files 'raw/{id}.csv'" in made.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.txt", "raw", "workspace.toml"]
    assert cli("status").returncode == 0
    again = cli("init")
    assert again.returncode == 2
    assert "workspace.toml is there already" in again.stderr
    around = cli("init", "--from-files", "raw/{id}.csv")
    assert around.returncode == 0, around.stderr
    assert Workspace(tmp_path).records.ids() == ["A-01", "A-02"]
    again = cli("init", "--from-files", "raw/{id}.csv")
    assert again.returncode == 2
    assert "Edit it, or remove it first." in again.stderr


def test_folders_that_differ_are_fields_of_the_pattern_that_init_names(cli, tmp_path):
    write(tmp_path, "2025-01/ann.csv", "2025-01/bob.csv", "2025-02/ann.csv", "README.txt")
    assert "sinagot-catalog init --from-files '{folder}/{name}.csv'" in cli("init").stderr
    assert cli("init", "--from-files", "{folder}/{name}.csv").returncode == 0
    assert Workspace(tmp_path).records.ids() == ["2025-01_ann", "2025-01_bob", "2025-02_ann"]


def test_a_pattern_of_another_folder_is_told_to_name_the_folder(cli, tmp_path):
    write(tmp_path, "data/A-01.csv")
    wrong = cli("init", "lab", "--from-files", "data/{id}.csv")
    assert wrong.returncode == 2
    assert (
        "The pattern is relative to that folder, and it has no files. Name the folder of the files"
        in wrong.stderr
    )


@pytest.mark.parametrize("dataset", ["", "dataset/", "bids/"])
def test_the_participants_of_a_bids_dataset_are_columns_of_its_records(cli, tmp_path, dataset):
    write(tmp_path, *(f"{dataset}sub-{n}/eeg/sub-{n}_eeg.csv" for n in ("01", "02")))
    (tmp_path / dataset / "participants.tsv").write_text("participant_id\tage\nsub-01\t31\nsub-02\tn/a\n")
    pattern = f"{'' if dataset == 'dataset/' else dataset}sub-{{sub}}/eeg/sub-{{sub}}_eeg.csv"
    made = cli("init", "--from-files", pattern)
    assert f"metadata = {dataset}participants.tsv: its columns are columns of the records" in made.stderr
    assert Workspace(tmp_path).records.select("sub", "age").rows() == [("01", 31), ("02", None)]
    (tmp_path / dataset / "participants.tsv").write_text("name\tage\nann\t31\n")
    (tmp_path / "workspace.toml").unlink()
    (tmp_path / "scripts/lines.py").unlink()
    assert "metadata" not in cli("init", "--from-files", pattern).stderr


@pytest.mark.parametrize(
    ("path", "pattern", "longer"),
    [
        ("2026-11-01/sensor-3_A.csv", "{id}.csv", "{folder}/{name}.csv"),
        ("a/b/R1.csv", "{id}.csv", "{folder1}/{folder2}/{name}.csv"),
        ("raw/a/R1_x.csv", "raw/{id}_x.csv", "raw/{folder}/{name}_x.csv"),
        ("a/R1.csv", "{id}.txt", None),
    ],
)
def test_files_in_deeper_folders_are_named_with_a_pattern_that_finds_them(
    cli, tmp_path, path, pattern, longer
):
    (tmp_path / path).parent.mkdir(parents=True)
    (tmp_path / path).touch()
    refused = cli("init", "--from-files", pattern)
    assert refused.returncode == 2
    assert f"1 file is there, such as {path}." in refused.stderr
    told = "A placeholder spans no folder: name the folders too, such as"
    assert (told in refused.stderr) == (longer is not None)
    if longer:
        assert f"{told} {longer!r}." in refused.stderr
        assert cli("init", "--from-files", longer).returncode == 0
        assert Workspace(tmp_path).records.count() == 1


def test_a_wrong_folder_in_a_pattern_is_told_with_a_file_that_is_there(cli, tmp_path):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "P01-W1.csv").touch()
    told = cli("init", tmp_path, "--from-files", "rw/{id}.csv")
    assert told.returncode == 2
    assert "1 file is there, such as raw/P01-W1.csv." in told.stderr


def test_a_workspace_that_is_there_is_told_before_its_files_are_searched(cli, harbor_folder):
    told = cli("init", harbor_folder, "--from-files", "rw/{id}.csv")
    assert told.returncode == 2
    assert "workspace.toml is there already" in told.stderr


def test_a_folder_that_cannot_be_made_is_one_sentence(cli, tmp_path):
    (tmp_path / "file").touch()
    told = cli("init", tmp_path / "file/here")
    assert told.returncode == 2
    folder = f"{tmp_path}/file/here/dataset/raw"
    assert told.stderr == f"error: {folder} cannot be written: Not a directory\nName another folder.\n"
