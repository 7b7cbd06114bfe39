"""Runs over trees of real names: sidecars that are inherited, optional files, and a step per subject."""

from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest

from sinagot_catalog import Workspace
from tests.trees import make_tree, names_of, parts_of

pytestmark = pytest.mark.slow

SUB_SES_RUN = r"sub-(?P<sub>[^_]+)(?:_ses-(?P<ses>[^_]+))?(?:_run-(?P<run>[^_]+))?"
FOLDER = "sub-{sub}/ses-{ses?}/"


@dataclass(frozen=True)
class Dataset:
    """A dataset: the names of its recordings, and which of their parts make a record.

    Attributes:
        stem: A recording without its suffix.
        suffix: How its name ends; a sidecar has the same suffix and ends in `.json`.
        tasks: Its tasks.
        id_pattern: That of its records.
        keys: The parts of a name that make the id.
    """

    stem: str
    suffix: str
    tasks: tuple[str, ...] = ()
    id_pattern: str = SUB_SES_RUN
    keys: tuple[str, ...] = ("sub", "ses", "run")

    @property
    def kind(self) -> str:
        """Its suffix without what follows the first dot."""
        return self.suffix.split(".")[0]


def of_tasks(kind: str, suffix: str, *tasks: str) -> Dataset:
    return Dataset(f"{FOLDER}{kind}/sub-{{sub}}_ses-{{ses?}}_task-{{task}}_run-{{run?}}", suffix, tasks)


WORDS = ("covertverbgeneration", "overtverbgeneration", "overtwordrepetition")
DATASETS = {
    "eeg_rishikesh": of_tasks("eeg", "eeg.bdf", "meditation"),
    "eeg_matchingpennies": of_tasks("eeg", "eeg.vhdr", "matchingpennies"),
    "ds001": of_tasks("func", "bold.nii.gz", "balloonanalogrisktask"),
    "ds114": of_tasks("func", "bold.nii.gz", "linebisection", "fingerfootlips", *WORDS),
    "ds000248": of_tasks("meg", "meg.fif", "audiovisual", "noise"),
    "eeg_rest_fmri": of_tasks("func", "bold.nii.gz", "rest"),
    "synthetic": of_tasks("func", "bold.nii", "nback", "rest"),
    "ieeg_visual_multimodal": of_tasks(
        "ieeg", "ieeg.vhdr", "spatialobject", "spatialpattern", "temporalpattern"
    ),
    "pet002": Dataset(FOLDER + "pet/{id}", "pet.nii.gz"),
    "asl001": Dataset(FOLDER + "perf/{id}", "asl.nii.gz"),
    "micr_SPIM": Dataset(
        "sub-{sub}/micr/sub-{sub}_sample-{sample}_stain-LFB_chunk-{chunk}",
        "SPIM.ome.tif",
        id_pattern=r"sub-(?P<sub>[^_]+)_sample-(?P<sample>[^_]+)_chunk-(?P<chunk>\d+)",
        keys=("sub", "sample", "chunk"),
    ),
}

CHECK = """
from sinagot_catalog import ScriptTemplate, any_of, optional

class Script(ScriptTemplate):
    PATH_IN = {{
        "raw": "{stem}_{suffix}",
        "sidecar": any_of("{stem}_{kind}.json", "{top}{kind}.json"),
        "events": optional(any_of("{stem}_events.tsv", "{top}events.tsv")),
    }}
    PATH_OUT = "check/{of_task}{{id}}.txt"

    def run(self):
        if self.path.input["raw"].read_text():
            raise ValueError("not empty")
        events = self.path.input["events"]
        names = [self.path.input["sidecar"].name, events.name if events else "-"]
        self.path.output.write_text(" ".join([self.id, *names]))
"""

SUBJECT = """
from sinagot_catalog import ScriptTemplate, optional

class Script(ScriptTemplate):
    BY = ("sub",)
    PATH_IN = {{"checked": "check/{of_task}{{id}}.txt", "events": optional("{stem}_events.tsv")}}
    PATH_OUT = "subjects/{of_task}{{sub}}.txt"

    def run(self):
        own = ["own" if path else "none" for path in self.path.input["events"]]
        lines = [path.read_text() for path in self.path.input["checked"]]
        self.path.output.write_text("\\n".join(f"{{line}} {{word}}" for line, word in zip(lines, own, strict=True)))
"""


def workspace_of(folder: Path, dataset: Dataset, names: list[str]) -> Workspace:
    """A workspace around a tree of empty files; results go to a folder beside it."""
    make_tree(folder / "data", names)
    values = {
        "stem": dataset.stem,
        "suffix": dataset.suffix,
        "kind": dataset.kind,
        "top": "task-{task}_" if dataset.tasks else "",
        "of_task": "{task}/" if dataset.tasks else "",
    }
    scripts = folder / "scripts" / ("raw" if dataset.tasks else "")
    scripts.mkdir(parents=True)
    (scripts / "check.py").write_text(CHECK.format(**values))
    (scripts / "subject.py").write_text(SUBJECT.format(**values))
    lines = ['path = {dataset = "data", outputs = "results", scripts = "scripts"}']
    lines += ["[records]", f"id_pattern = '{dataset.id_pattern}'"]
    lines += [f'[tasks."{task}"]\nmodalities = ["raw"]' for task in dataset.tasks]
    lines += ["[modalities.raw]" if dataset.tasks else "[steps]", 'scripts = ["check", "subject"]']
    (folder / "workspace.toml").write_text("\n".join(lines) + "\n")
    return Workspace(folder)


def recordings(names: list[str], dataset: Dataset) -> list[str]:
    """The recordings of a dataset, from the names alone."""
    found = [name for name in names if name.startswith("sub-") and name.endswith(f"_{dataset.suffix}")]
    return sorted(name for name in found if not dataset.tasks or parts_of(name).get("task") in dataset.tasks)


def expected(names: list[str], dataset: Dataset) -> dict[tuple[str | None, str], list[str]]:
    """For each task and subject the lines of its recordings, from the names alone."""
    known, out = set(names), {}
    for name in recordings(names, dataset):
        parts, stem = parts_of(name), name.removesuffix(dataset.suffix)
        top = f"task-{parts['task']}_" if dataset.tasks else ""
        sidecars = [f"{stem}{dataset.kind}.json", f"{top}{dataset.kind}.json"]
        events = [one for one in (f"{stem}events.tsv", f"{top}events.tsv") if one in known]
        names_of_row = [next(one for one in sidecars if one in known), *events[:1]]
        record = "_".join(f"{key}-{parts[key]}" for key in dataset.keys if key in parts)
        words = [one.rsplit("/", 1)[-1] for one in names_of_row] + ["-"] * (not events)
        line = " ".join([record, *words, "own" if f"{stem}events.tsv" in known else "none"])
        out.setdefault((parts.get("task") if dataset.tasks else None, parts["sub"]), []).append(line)
    return {key: sorted(lines) for key, lines in out.items()}


def results(folder: Path) -> dict[tuple[str | None, str], list[str]]:
    """What the step per subject wrote."""
    root = folder / "results" / "subjects"
    files = [path.relative_to(root) for path in sorted(root.rglob("*.txt"))]
    return {
        (file.parts[-2] if len(file.parts) > 1 else None, file.stem): sorted(
            (root / file).read_text().split("\n")
        )
        for file in files
    }


@pytest.mark.parametrize("name", DATASETS)
def test_a_step_per_subject_waits_for_all_recordings_of_the_subject(tmp_path, name):
    dataset, names = DATASETS[name], names_of(name)
    right = expected(names, dataset)
    n_recordings = sum(len(lines) for lines in right.values())
    ws = workspace_of(tmp_path, dataset, names)
    first = recordings(names, dataset)[0]
    (tmp_path / "data" / first).write_text("bad")
    report = ws.steps.run(mode="main_process", progress=False)
    counts = {"done": n_recordings - 1 + len(right) - 1, "error": 1, "blocked": 1}
    assert report.counts() == {key: count for key, count in counts.items() if count}
    parts = parts_of(first)
    blocked = (parts.get("task") if dataset.tasks else None, parts["sub"])
    assert results(tmp_path) == {key: lines for key, lines in right.items() if key != blocked}
    (tmp_path / "data" / first).write_text("")
    assert ws.refresh().steps.run(mode="main_process", progress=False).counts() == {"done": 2}
    assert results(tmp_path) == right
    assert ws.steps.filter(status="DONE").count() == n_recordings + len(right)
    assert ws.records.count() == len({line.split()[0] for lines in right.values() for line in lines})
    assert Workspace(tmp_path).steps.filter(stale=True).count() == 0


def test_files_that_inherit_or_are_optional_are_looked_up_again_when_they_come(tmp_path):
    """A sidecar and events of its own replace what a run inherited: the recording is stale, then its subject."""
    dataset, names = DATASETS["ds114"], names_of("ds114")
    ws = workspace_of(tmp_path, dataset, names)
    ws.steps.run(mode="main_process", progress=False)
    stem = "sub-01/ses-test/func/sub-01_ses-test_task-fingerfootlips_"
    more = [f"{stem}bold.json", f"{stem}events.tsv"]
    make_tree(tmp_path / "data", more)
    stale = ws.refresh().steps.filter(stale=True).select("record_id", "task", "step").rows()
    assert ("sub-01_ses-test", "fingerfootlips", "check") in stale
    assert {task for _, task, _ in stale} == {"fingerfootlips"}
    ws.steps.run(mode="main_process", progress=False, stale=True)
    assert ws.refresh().steps.filter(stale=True).count() == 0
    assert results(tmp_path) == expected([*names, *more], dataset)


def test_a_folder_of_chunks_is_one_input_and_its_photo_an_optional_one(write_workspace):
    """Each sample of a brain is four chunks; the photo of the second sample is taken away."""
    names = names_of("micr_SPIM")
    body = """
from sinagot_catalog import ScriptTemplate, many, optional
class Script(ScriptTemplate):
    PATH_IN = {
        "chunks": many("sub-{sub}/micr/sub-{sub}_sample-{sample}_stain-LFB_chunk-*_SPIM.ome.tif"),
        "photo": optional("sub-{sub}/micr/{id}_photo.png"),
    }
    PATH_OUT = "stack/{id}.txt"
    def run(self):
        photo = self.path.input["photo"]
        self.path.output.write_text(f"{len(self.path.input['chunks'])} {photo.name if photo else None}")
"""
    gone = "sub-01/micr/sub-01_sample-B_photo.png"
    toml = "[records]\nid_pattern = 'sub-(?P<sub>[^_]+)_sample-(?P<sample>[^_]+)'\n"
    ws = Workspace(write_workspace({"stack": body}, sorted({*names} - {gone}), toml=toml))
    assert ws.records.ids() == ["sub-01_sample-A", "sub-01_sample-B"]
    assert ws.steps.run(mode="main_process", progress=False).counts() == {"done": 2}
    made = {path.stem: path.read_text() for path in (ws.data_path / "stack").iterdir()}
    assert made == {"sub-01_sample-A": "4 sub-01_sample-A_photo.png", "sub-01_sample-B": "4 None"}
    (ws.data_path / "sub-01/micr/sub-01_sample-B_stain-LFB_chunk-05_SPIM.ome.tif").touch()
    assert ws.refresh().steps.filter(stale=True).select("record_id").rows() == [("sub-01_sample-B",)]


def test_a_day_of_a_camera_card_is_summed_up(tmp_path):
    """Three days on a card: pictures are CR2 or JPG, some with a sidecar, and clips are no pictures."""
    shots = {
        "2026-05-01": ("100CANON/IMG_0001.CR2", "100CANON/IMG_0002.JPG", "101CANON/IMG_0001.JPG"),
        "2026-05-02": ("100CANON/IMG_0001.CR2", "100CANON/MVI_0002.MOV"),
        "2026-05-03": ("100CANON/MVI_0001.MOV",),
    }
    names = [f"{day}/{shot}" for day, pictures in shots.items() for shot in pictures]
    names += ["2026-05-01/100CANON/IMG_0001.JPG", "2026-05-01/100CANON/IMG_0001.xmp", "2026-05-02/notes.txt"]
    make_tree(tmp_path / "dataset", names)
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "summary.sh").write_text(
        'out="$1"; shift; for one in "$@"; do echo "${one##*/}"; done > "$out"'
    )
    (tmp_path / "workspace.toml").write_text(r"""
[path]
dataset = "dataset"
scripts = "scripts"
[records]
id_pattern = '(?P<day>\d{4}-\d\d-\d\d)_(?P<folder>\d{3}[A-Z]+)_(?P<number>\d{4})'
[steps]
scripts = ["summary"]
[steps.summary]
command = "sh summary.sh {output} {input.picture} {input.edits} {input.notes}"
inputs.picture = {any_of = ["{day}/{folder}/IMG_{number}.CR2", "{day}/{folder}/IMG_{number}.JPG"]}
inputs.edits = {path = "{day}/{folder}/IMG_{number}.xmp", optional = true}
inputs.notes = {path = "{day}/notes.txt", optional = true}
outputs = "days/{day}.txt"
by = ["day"]
""")
    ws = Workspace(tmp_path, trust=True)
    assert ws.records.count() == 4
    assert ws.steps.select("record_id").rows() == [("day=2026-05-01",), ("day=2026-05-02",)]
    assert ws.steps.run(mode="main_process", progress=False).counts() == {"done": 2}
    first = (tmp_path / "dataset/days/2026-05-01.txt").read_text().split()
    assert first == ["IMG_0001.CR2", "IMG_0002.JPG", "IMG_0001.JPG", "IMG_0001.xmp"]
    assert (tmp_path / "dataset/days/2026-05-02.txt").read_text().split() == ["IMG_0001.CR2", "notes.txt"]
    make_tree(tmp_path / "dataset", ["2026-05-01/101CANON/IMG_0001.CR2", "2026-05-03/100CANON/IMG_0002.JPG"])
    rows = ws.refresh().steps.filter(pl.col("stale") | (pl.col("status") == "DATA_READY")).select("record_id")
    assert rows.rows() == [("day=2026-05-01",), ("day=2026-05-03",)]
