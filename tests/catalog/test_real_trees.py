"""Counts in trees that real tools leave: public BIDS datasets, and folders of Hydra, signac, cameras and DataLad.

`tests/data/bids_names.txt` holds names of files of public BIDS examples, without their contents. Each tree is made
of empty files. What the library counts is compared with a plain count over the names, and with a number.
"""

import hashlib
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

import polars as pl
import pytest

from sinagot_catalog import Workspace
from tests.trees import make_tree, names_of, parts_of

SUB_SES = r"sub-(?P<sub>[^_]+)(?:_ses-(?P<ses>[^_]+))?"
SUB_SES_RUN = SUB_SES + r"(?:_run-(?P<run>[^_]+))?"
FUNC = "sub-{sub}/ses-{ses?}/func/sub-{sub}_ses-{ses?}_task-{task}_run-{run?}_bold.nii.gz"


def plain_counts(names: Iterable[str], counted: tuple[str, ...], keys: tuple[str, ...]) -> dict[str, int]:
    """Count the recordings of a subject: the files (or folders) that end in a suffix, outside of derivatives."""
    found = {}
    for name in names:
        if not name.startswith("sub-"):
            continue
        whole = name.split(".ds/")[0] + ".ds" if ".ds/" in name else name
        if whole.endswith(counted):
            found[whole] = parts_of(whole)
    rows = list(found.values())
    return {
        "records": len({tuple(row.get(key) for key in keys) for row in rows}),
        "sessions": len({row["ses"] for row in rows if "ses" in row}),
        "tasks": len({row["task"] for row in rows if "task" in row}),
        "runs": len({row["run"] for row in rows if "run" in row}),
        "recordings": len(rows),
    }


def catalog_counts(ws: Workspace) -> dict[str, int]:
    """The same counts from the tables of a workspace."""
    records = ws.records.collect()
    units = ws.units.filter(has_data=True).collect()
    return {
        "records": ws.records.count(),
        "sessions": n_values(records, "ses"),
        "tasks": units["task"].drop_nulls().n_unique(),
        "runs": n_values(records, "run"),
        "recordings": units.height,
    }


def n_values(records: pl.DataFrame, field: str) -> int:
    """How many values a field has; a record that lacks the field has none."""
    if field not in records.columns:
        return 0
    return records.filter(pl.col(field) != "")[field].n_unique()


@dataclass(frozen=True)
class Tree:
    """A dataset, the config that describes it, and what is right.

    Attributes:
        toml: All of `workspace.toml` but its `path`.
        counted: How the names of its recordings end.
        counts: Records, sessions, tasks, runs, and recordings (records x task x modality that have data).
        keys: What makes a record.
    """

    toml: str
    counted: tuple[str, ...]
    counts: tuple[int, int, int, int, int]
    keys: tuple[str, ...] = ("sub", "ses", "run")


def one_step(id_pattern: str, path: str, tasks: Iterable[str] = (), *, modality: str = "raw") -> str:
    """A config with one command that reads one file of each recording."""
    out = "check/{id}_{task}.txt" if tasks else "check/{id}.txt"
    head = [f"[records]\nid_pattern = '{id_pattern}'"]
    head += [f'[tasks."{task}"]\nmodalities = ["{modality}"]' for task in tasks]
    head += [f'[modalities.{modality}]\nscripts = ["check"]' if tasks else '[steps]\nscripts = ["check"]']
    return "\n".join(
        [*head, f'[steps.check]\ncommand = "cp {{input}} {{output}}"\ninputs = "{path}"\noutputs = "{out}"']
    )


TREES = {
    # 24 people with one to three sessions, 40 in all; one task, no runs.
    "eeg_rishikesh": Tree(
        one_step(
            r"sub-(?P<sub>\d+)_ses-(?P<ses>\d+)",
            "sub-{sub}/ses-{ses}/eeg/{id}_task-{task}_eeg.bdf",
            ["meditation"],
        ),
        ("_eeg.bdf",),
        (40, 3, 1, 0, 40),
    ),
    # Seven people, one recording each; the copies in `sourcedata` are not counted.
    "eeg_matchingpennies": Tree(
        one_step(r"sub-\d+", "{id}/eeg/{id}_task-{task}_eeg.vhdr", ["matchingpennies"]),
        ("_eeg.vhdr",),
        (7, 0, 1, 0, 7),
    ),
    # 16 people x 3 runs: a record is a run.
    "ds001": Tree(
        one_step(SUB_SES_RUN, FUNC, ["balloonanalogrisktask"]),
        ("_bold.nii.gz",),
        (48, 0, 1, 3, 48),
    ),
    # 10 people x 2 sessions x 5 tasks; one id_pattern serves datasets with and without sessions and runs.
    "ds114": Tree(
        one_step(
            SUB_SES_RUN,
            FUNC,
            [
                "covertverbgeneration",
                "fingerfootlips",
                "linebisection",
                "overtverbgeneration",
                "overtwordrepetition",
            ],
        ),
        ("_bold.nii.gz",),
        (20, 2, 5, 0, 100),
    ),
    # Recordings are folders `.ds`: two runs of a person, and one of the empty room.
    "ds000246": Tree(
        one_step(
            SUB_SES_RUN,
            "sub-{sub}/ses-{ses?}/meg/sub-{sub}_ses-{ses?}_task-{task}_run-{run?}_meg.ds",
            ["AEF", "noise"],
        ),
        ("_meg.ds",),
        (3, 0, 2, 2, 3),
    ),
    # The empty room has a session and no run, the person a run and no session; calibration files are no recordings.
    "ds000248": Tree(
        one_step(
            SUB_SES_RUN,
            "sub-{sub}/ses-{ses?}/meg/sub-{sub}_ses-{ses?}_task-{task}_run-{run?}_meg.fif",
            ["audiovisual", "noise"],
        ),
        ("01_meg.fif", "noise_meg.fif"),
        (2, 1, 2, 1, 2),
    ),
    # Two people x baseline and rescan.
    "pet002": Tree(
        one_step(SUB_SES, "sub-{sub}/ses-{ses?}/pet/{id}_pet.nii.gz"),
        ("_pet.nii.gz",),
        (4, 2, 0, 0, 4),
    ),
    # One person, one scan.
    "asl001": Tree(
        one_step(SUB_SES, "sub-{sub}/ses-{ses?}/perf/{id}_asl.nii.gz"),
        ("_asl.nii.gz",),
        (1, 0, 0, 0, 1),
    ),
    # One brain, 2 samples x 4 chunks; the photos of samples are not counted.
    "micr_SPIM": Tree(
        one_step(
            r"sub-(?P<sub>\d+)_sample-(?P<sample>[^_]+)_chunk-(?P<chunk>\d+)",
            "sub-{sub}/micr/sub-{sub}_sample-{sample}_stain-LFB_chunk-{chunk}_SPIM.ome.tif",
        ),
        ("_SPIM.ome.tif",),
        (8, 0, 0, 0, 8),
        ("sub", "sample", "chunk"),
    ),
    # Behaviour only: 2 runs x 2 eyes.
    "eyetracking_binocular": Tree(
        one_step(
            SUB_SES_RUN + "_recording-(?P<eye>[^_]+)",
            "sub-{sub}/ses-{ses?}/beh/sub-{sub}_ses-{ses?}_task-{task}_run-{run?}_recording-{eye}_physio.tsv.gz",
            ["FreeView"],
        ),
        ("_physio.tsv.gz",),
        (4, 0, 1, 2, 4),
        ("sub", "ses", "run", "recording"),
    ),
    # Three people, EEG and fMRI of each; the EEG of `derivatives` is a second input, not a second record.
    "eeg_rest_fmri": Tree(
        r"""
        [records]
        id_pattern = 'sub-\d+'
        [tasks]
        rest.modalities = ["eeg", "func"]
        [modalities.eeg]
        scripts = ["check"]
        [modalities.func]
        scripts = ["mean"]
        [steps.check]
        command = "diff {input.raw} {input.clean}"
        inputs.raw = "{id}/eeg/{id}_task-{task}_eeg.vhdr"
        inputs.clean = "derivatives/{id}/eeg/{id}_task-{task}_eeg.vhdr"
        outputs = "check/{id}_{task}.txt"
        [steps.mean]
        command = "cp {input} {output}"
        inputs = "{id}/func/{id}_task-{task}_bold.nii.gz"
        outputs = "mean/{id}_{task}.nii.gz"
        """,
        ("_eeg.vhdr", "_bold.nii.gz"),
        (3, 0, 1, 0, 6),
    ),
    # 5 people x 2 sessions, each once without a run (rest, stroop) and with runs 1 and 2 (nback): 10 + 20 records.
    # Recordings: 20 of nback, 10 of rest, and 5 each of two colours of stroop in the first session.
    "synthetic": Tree(
        rf"""
        [records]
        id_pattern = '{SUB_SES_RUN}'
        [tasks]
        nback.modalities = ["func"]
        rest.modalities = ["func"]
        "stroop+blackbg".modalities = ["beh"]
        "stroop+whitebg".modalities = ["beh"]
        [modalities.func]
        scripts = ["mean"]
        [modalities.beh]
        scripts = ["score"]
        [steps.mean]
        command = "cp {{input.bold}} {{output}}"
        inputs.bold = "{FUNC.removesuffix(".gz")}"
        inputs.anat = "sub-{{sub}}/ses-{{ses?}}/anat/sub-{{sub}}_ses-{{ses?}}_T1w.nii"
        outputs = "mean/{{id}}_{{task}}.nii"
        [steps.score]
        command = "cp {{input}} {{output}}"
        inputs = "{FUNC.replace("func", "beh").replace("bold.nii.gz", "beh.tsv")}"
        outputs = "score/{{id}}_{{task}}.tsv"
        """,
        ("_bold.nii", "_beh.tsv"),
        (30, 2, 4, 2, 40),
    ),
    # One person, 2 sessions (iEEG, fMRI) x 4 runs x 3 tasks; `sbref` and `anat` are not counted.
    "ieeg_visual_multimodal": Tree(
        rf"""
        [records]
        id_pattern = '{SUB_SES_RUN}'
        [tasks]
        spatialobject.modalities = ["ieeg", "func"]
        spatialpattern.modalities = ["ieeg", "func"]
        temporalpattern.modalities = ["ieeg", "func"]
        [modalities.ieeg]
        scripts = ["clean"]
        [modalities.func]
        scripts = ["mean"]
        [steps.clean]
        command = "cp {{input}} {{output}}"
        inputs = "sub-{{sub}}/ses-{{ses}}/ieeg/sub-{{sub}}_ses-{{ses}}_task-{{task}}_run-{{run}}_ieeg.vhdr"
        outputs = "clean/{{id}}_{{task}}.vhdr"
        [steps.mean]
        command = "cp {{input}} {{output}}"
        inputs = "{FUNC}"
        outputs = "mean/{{id}}_{{task}}.nii.gz"
        """,
        ("_ieeg.vhdr", "_bold.nii.gz"),
        (8, 2, 3, 4, 24),
    ),
}


COUNTS = ("records", "sessions", "tasks", "runs", "recordings")


def open_tree(folder: Path, toml: str, names: Iterable[str]) -> Workspace:
    """A workspace around a tree of empty files; results go to a folder beside it."""
    make_tree(folder / "data", names)
    (folder / "scripts").mkdir()
    text = 'path = {dataset = "data", outputs = "results"}\n' + dedent(toml).strip() + "\n"
    assert len(text.splitlines()) < 25
    (folder / "workspace.toml").write_text(text)
    return Workspace(folder)


def mismatches(ws: Workspace) -> list[str]:
    """The example files that are said to match no pattern."""
    return [one["example"] for one in ws.notices.to_dicts() if one["kind"] == "file without pattern"]


@pytest.mark.parametrize("dataset", TREES)
def test_a_bids_dataset_is_counted_as_its_names_say(tmp_path, dataset):
    tree = TREES[dataset]
    names = names_of(dataset)
    plain = plain_counts(names, tree.counted, tree.keys)
    ws = open_tree(tmp_path, tree.toml, names)
    assert ws.steps.filter(status="DATA_READY").count() == plain["recordings"]
    assert catalog_counts(ws) == plain == dict(zip(COUNTS, tree.counts, strict=True))


# -- trees of other tools ---------------------------------------------------------------------------------


def test_the_jobs_of_hydra_sweeps_are_records(tmp_path):
    """Three sweeps of 12, 2 and 1 jobs; job 1 of the second wrote no result. Hidden folders hold the configs."""
    sweeps = {("2026-01-02", "10-11-12"): 12, ("2026-01-02", "18-00-00"): 2, ("2026-02-01", "10-11-12"): 1}
    names = [f"multirun/{day}/{time}/multirun.yaml" for day, time in sweeps]
    for (day, time), count in sweeps.items():
        for job in range(count):
            folder = f"multirun/{day}/{time}/{job}"
            names += [f"{folder}/.hydra/{one}.yaml" for one in ("config", "hydra", "overrides")]
            names += [f"{folder}/train.log", f"{folder}/metrics.json"]
    names.remove("multirun/2026-01-02/18-00-00/1/metrics.json")
    toml = r"""
    [records]
    id_pattern = '(?P<day>\d{4}-\d\d-\d\d)_(?P<time>\d\d-\d\d-\d\d)_(?P<job>\d+)'
    [steps]
    scripts = ["score"]
    [steps.score]
    command = "score {input.metrics} {output}"
    inputs.config = "multirun/{day}/{time}/{job}/.hydra/config.yaml"
    inputs.metrics = "multirun/{day}/{time}/{job}/metrics.json"
    inputs.sweep = "multirun/{day}/{time}/multirun.yaml"
    outputs = "score/{id}.txt"
    """
    ws = open_tree(tmp_path, toml, names)
    records = ws.records.collect()
    assert records.height == sum(sweeps.values()) == 15
    assert records.group_by("day", "time").len().sort("day", "time").rows() == [
        (*key, count) for key, count in sorted(sweeps.items())
    ]
    missing = ws.steps.filter(status="INIT").select("record_id", "missing").rows()
    assert missing == [("2026-01-02_18-00-00_1", "multirun/2026-01-02/18-00-00/1/metrics.json")]
    assert ws.steps.filter(status="DATA_READY").count() == 14
    assert mismatches(ws) == []


def test_the_jobs_of_a_signac_project_are_records(tmp_path):
    """Six folders have a state point; two of these a document. A folder of another name is no job."""
    jobs = [hashlib.md5(str(number).encode(), usedforsecurity=False).hexdigest() for number in range(6)]
    names = [".signac/config", "project.py", "workspace/notes/signac_statepoint.json"]
    names += [f"workspace/{job}/signac_statepoint.json" for job in jobs]
    names += [f"workspace/{job}/signac_job_document.json" for job in jobs[:2]]
    toml = """
    [records]
    id_pattern = '[0-9a-f]{32}'
    [steps]
    scripts = ["energy", "plot"]
    [steps.energy]
    command = "energy {input} {output}"
    inputs = "workspace/{id}/signac_statepoint.json"
    outputs = "workspace/{id}/energy.txt"
    [steps.plot]
    command = "plot {input.energy} {output}"
    inputs = {energy = "workspace/{id}/energy.txt", document = "workspace/{id}/signac_job_document.json"}
    outputs = "plots/{id}.png"
    """
    ws = open_tree(tmp_path, toml, names)
    assert ws.records.ids() == sorted(jobs)
    assert ws.steps.filter(step="energy", status="DATA_READY").count() == 6
    waits = ws.steps.filter(step="plot").select("record_id", "n_inputs_found").rows()
    assert {one for one, found in waits if found == 1} == set(jobs[:2])
    assert mismatches(ws) == ["workspace/notes/signac_statepoint.json"]


def test_the_pictures_of_a_camera_card_are_records(tmp_path):
    """Numbers begin again in the second folder: IMG_0001 is two pictures. Four pictures have a sidecar."""
    raw = [
        "100CANON/IMG_0001",
        "100CANON/IMG_0002",
        "100CANON/IMG_9999",
        "101CANON/IMG_0001",
        "101CANON/IMG_0002",
    ]
    names = [f"DCIM/{one}.CR2" for one in raw]
    names += [f"DCIM/{one}.xmp" for one in raw[:4]]
    names += ["DCIM/100CANON/IMG_0001.JPG", "DCIM/101CANON/MVI_0003.MOV", "DCIM/100CANON/._IMG_0001.CR2"]
    names += ["DCIM/CANONMSC/M0100.CTG", "MISC/AUTPRINT.MRK", ".Trashes/IMG_0004.CR2"]
    toml = r"""
    [records]
    id_pattern = '(?P<folder>\d{3}CANON)_IMG_(?P<number>\d{4})'
    [steps]
    scripts = ["develop"]
    [steps.develop]
    command = "dcraw {input.raw} {output}"
    inputs.raw = "DCIM/{folder}/IMG_{number}.CR2"
    inputs.sidecar = "DCIM/{folder}/IMG_{number}.xmp"
    outputs = "developed/{folder}/{number}.tif"
    """
    ws = open_tree(tmp_path, toml, names)
    assert ws.records.ids() == [one.replace("/", "_") for one in raw]
    assert ws.records.select("folder", "number").rows() == [tuple(one.split("/IMG_")) for one in raw]
    assert ws.steps.filter(status="DATA_READY").count() == 4
    assert ws.steps.filter(status="INIT").select("missing").rows() == [("DCIM/101CANON/IMG_0002.xmp",)]


def test_a_datalad_tree_has_the_files_whose_contents_are_here(tmp_path):
    """Ten files are links into the annex; the contents of three were not fetched, two of these signals."""
    annex = tmp_path / "data" / ".git" / "annex" / "objects"
    people = [f"sub-{number:02}" for number in range(1, 6)]
    absent = {("sub-02", "eeg.edf"), ("sub-05", "eeg.edf"), ("sub-03", "channels.tsv")}
    toml = """
    [records]
    id_pattern = 'sub-[0-9]+'
    [tasks]
    rest.modalities = ["eeg"]
    [modalities.eeg]
    scripts = ["clean"]
    [steps.clean]
    command = "cp {input.raw} {output}"
    inputs.raw = "{id}/eeg/{id}_task-{task}_eeg.edf"
    inputs.channels = "{id}/eeg/{id}_task-{task}_channels.tsv"
    outputs = "clean/{id}_{task}.edf"
    """
    for number, (person, end) in enumerate(
        (one, end) for one in people for end in ("eeg.edf", "channels.tsv")
    ):
        key = f"MD5E-s{number}--{number:032x}.{end.split('.')[1]}"
        content = annex / f"{number:02x}" / "z9" / key / key
        if (person, end) not in absent:
            content.parent.mkdir(parents=True)
            content.write_text(str(number))
        link = tmp_path / "data" / person / "eeg" / f"{person}_task-rest_{end}"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(content, link.parent))
    ws = open_tree(tmp_path, toml, [f"{one}/eeg/{one}_task-rest_eeg.json" for one in people])
    there = {
        path.relative_to(tmp_path / "data").as_posix()
        for path in (tmp_path / "data").glob("sub-*/eeg/*")
        if path.suffix != ".json" and path.exists()
    }
    assert len(there) == 7
    assert set(ws.files.filter(role="input").select("path")["path"]) == there
    assert ws.records.count() == 5
    ready = ws.steps.filter(status="DATA_READY").select("record_id")["record_id"].to_list()
    assert ready == ["sub-01", "sub-04"]
    dangling = [one for one in ws.notices.to_dicts() if "to nothing" in one["text"]]
    assert [one["count"] for one in dangling] == [3]
    assert ws.units.filter(has_data=True).count() == 2
    sizes = ws.files.filter(role="input", record_id="sub-01").select("size")["size"].to_list()
    assert sizes == [1, 1]  # those of the contents, not of the links
    assert ws.steps.run(mode="main_process", progress=False).counts()["done"] == 2
    assert (tmp_path / "results" / "clean" / "sub-04_rest.edf").read_text() == "6"


def test_a_file_that_several_records_share_is_not_said_to_match_no_pattern(tmp_path):
    """The T1w of a session is read by the rows of each of its runs."""
    ws = open_tree(tmp_path, TREES["synthetic"].toml, names_of("synthetic"))
    shared = ws.files.filter(pl.col("path").str.contains("_T1w"), role="input")
    assert shared.count() == 10
    assert mismatches(ws) == []


@pytest.mark.parametrize("shared", ["raw/{sub}/anat/a.nii", "raw/{sub}/anat", "raw/notes"])
def test_a_misnamed_file_beside_shared_ones_is_told(tmp_path, shared):
    """A folder that records share may hold any file; what lies beside it is named."""
    toml = f"""
    [records]
    id_pattern = '(?P<sub>s[0-9])_(?P<run>r[0-9])'
    [steps]
    scripts = ["clean"]
    [steps.clean]
    command = "clean {{input.raw}} {{output}}"
    inputs = {{raw = "raw/{{sub}}/{{run}}.csv", shared = "{shared}"}}
    outputs = "clean/{{id}}.csv"
    """
    read = shared.replace("{sub}", "s1") + ("" if shared.endswith(".nii") else "/deep/b.nii")
    ws = open_tree(tmp_path, toml, ["raw/s1/r1.csv", "raw/s1/r2.csv", "raw/s1/run3.csv", read])
    assert ws.steps.filter(status="DATA_READY").count() == 2
    (told,) = [one for one in ws.notices.to_dicts() if one["kind"] == "file without pattern"]
    assert (told["count"], told["example"]) == (1, "raw/s1/run3.csv")


def test_a_compressed_file_of_another_kind_is_not_taken_for_a_misnamed_one(tmp_path):
    """A `.tsv.gz` lies beside each `.nii.gz`; one image lacks its task."""
    names = [
        f"sub-{one}/func/sub-{one}_task-rest_{end}"
        for one in "12"
        for end in ("bold.nii.gz", "physio.tsv.gz")
    ]
    toml = one_step(SUB_SES_RUN, FUNC, ["rest"])
    ws = open_tree(tmp_path, toml, [*names, "sub-3/func/sub-3_bold.nii.gz"])
    assert ws.records.ids() == ["sub-1", "sub-2"]
    (told,) = [one for one in ws.notices.to_dicts() if one["kind"] == "file without pattern"]
    assert (told["count"], told["example"]) == (1, "sub-3/func/sub-3_bold.nii.gz")


BIDS = "sub-{sub}/eeg/sub-{sub}_task-{paradigm}_run-{run?}"


def test_further_files_of_a_recording_are_no_misnamed_optional_ones(tmp_path):
    """Channels lie beside events and sidecars; of these the step reads some where they exist."""
    toml = f"""
    [records]
    id_pattern = 'sub-(?P<sub>\\d+)_task-(?P<paradigm>[a-z]+)(?:_run-(?P<run>\\d+))?'
    [steps]
    scripts = ["clean"]
    [steps.clean]
    command = "clean {{output}} {{input.eeg}} {{input.sidecar}} {{input.events}}"
    outputs = "clean/{{id}}.txt"
    [steps.clean.inputs]
    eeg = "{BIDS}_eeg.edf"
    sidecar = {{any_of = ["{BIDS}_eeg.json", "task-{{paradigm}}_eeg.json"]}}
    events = {{path = "{BIDS}_events.tsv", optional = true}}
    """
    names = [f"sub-1/eeg/sub-1_task-{one}" for one in ("rest", "stroop_run-1")]
    files = [f"{name}_{end}" for name in names for end in ("eeg.edf", "channels.tsv", "coordsystem.json")]
    shared = ["dataset_description.json", "task-rest_eeg.json", "task-stroop_eeg.json"]
    ws = open_tree(tmp_path, toml, [*files, *shared, f"{names[1]}_events.tsv"])
    assert ws.steps.filter(status="DATA_READY").count() == 2
    assert mismatches(ws) == []
    assert "No record lacks a raw file." in ws.report(tmp_path / "page.html").read_text()
    misnamed = "sub-1/eeg/sub-01-stroop_eeg.edf"
    make_tree(tmp_path / "data", [misnamed])
    assert mismatches(ws.refresh()) == [misnamed]


def test_a_record_lacks_an_input_when_no_alternative_is_there(tmp_path):
    toml = """
    [records]
    id_pattern = 'R[0-9]'
    [steps]
    scripts = ["clean"]
    [steps.clean]
    command = "clean {output} {input.raw} {input.notes} {input.list}"
    outputs = "clean/{id}.txt"
    [steps.clean.inputs]
    raw = {any_of = ["raw/{id}.edf", "raw/{id}.bdf"]}
    notes = {path = "notes/{id}.txt", optional = true}
    list = "list/{id}.csv"
    """
    files = ["raw/R1.edf", "raw/R2.bdf", *(f"list/R{one}.csv" for one in "123"), "notes/R3.txt"]
    page = open_tree(tmp_path, toml, files).report(tmp_path / "page.html").read_text()
    text = " ".join(re.sub(r"<[^>]*>", " ", page).split())
    assert "1 record lacks only raw/{id}.edf or raw/{id}.bdf R3" in text
    assert text.count(" lacks only ") == 1
