"""What the disk may do to a run: be full, be read-only, hide a folder, go away, lie elsewhere."""

# ruff: noqa: PTH208 - names are compared

import contextlib
import os
import re
import resource
import shutil
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from sinagot_catalog import Workspace

pytestmark = pytest.mark.slow

SHIM = str(Path(__file__).parent / "shim")
BIG = """
from sinagot_catalog import ScriptTemplate
class Script(ScriptTemplate):
    PATH_IN = "raw/{id}"
    PATH_OUT = "out/{id}"
    def run(self):
        self.path.output.write_bytes(self.id.encode() * 20_000)
"""
IDS = [f"R{number:02}" for number in range(40)]


def command(folder, *words, environment=None, **options):
    return subprocess.run(
        [sys.executable, "-m", "sinagot_catalog", words[0], str(folder), *words[1:]],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, **(environment or {})},
        **options,
    )


def whole(folder):
    """Check that every output is whole; says how many there are."""
    outputs = list((folder / "dataset/out").iterdir())
    assert all(one.read_bytes() == one.name.encode() * 20_000 for one in outputs)
    return len(outputs)


@pytest.fixture
def small_disk():
    """Mount a file system of one megabyte on a folder; it may grow later."""
    mounted = []

    def mount(folder, size="1m"):
        words = [
            "mount",
            *(
                ["-o", f"remount,size={size}"]
                if folder in mounted
                else ["-t", "tmpfs", "-o", f"size={size}", "none"]
            ),
        ]
        done = subprocess.run([*words, folder], capture_output=True, check=False)
        if done.returncode:
            pytest.skip("no file system may be mounted here")
        mounted.append(folder)

    yield mount
    for folder in set(mounted):
        subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.parametrize("mode", ["processes", "main_process"])
def test_full_disk_fails_rows_with_a_sentence_and_leaves_no_partial_file(
    cli, write_workspace, small_disk, mode
):
    folder = write_workspace({"work": BIG})
    small_disk(folder / "dataset")
    (folder / "dataset/raw").mkdir()
    for one in IDS:
        (folder / "dataset/raw" / one).touch()
    ended = cli("run", folder, "--mode", mode, "-q", "--workers", "2")
    assert ended.returncode == 3, ended.stderr
    assert "No space left on device" in ended.stderr
    assert "Traceback" not in ended.stderr
    there = whole(folder)
    assert 0 < there < len(IDS)
    small_disk(folder / "dataset", "32m")
    assert cli("run", folder, "-q").returncode == 0
    assert whole(folder) == len(IDS)
    assert not list((folder / "dataset/LOG/.staging").iterdir())


def test_disk_that_is_full_from_the_start_is_a_sentence(cli, write_workspace, small_disk):
    folder = write_workspace({"work": ("raw/{id}", "out/{id}")})
    small_disk(folder / "dataset", "64k")
    (folder / "dataset/raw").mkdir()
    (folder / "dataset/raw/R01").touch()
    with contextlib.suppress(OSError):
        (folder / "dataset/fill").write_bytes(b"x" * 1_000_000)
    ended = cli("run", folder, "-q")
    assert ended.returncode == 1
    assert re.search(r"error: .*/claims/.* cannot be written: No space left on device", ended.stderr), (
        ended.stderr
    )
    (folder / "dataset/fill").unlink()
    assert cli("run", folder, "-q").returncode == 0


def test_file_beyond_the_allowed_size_fails_its_row_only(write_workspace):
    body = "self.path.output.write_bytes(b'x' * (300_000 if self.id == 'R01' else 10))"
    folder = write_workspace({"work": ("raw/{id}", "out/{id}", body)}, [f"raw/{one}" for one in IDS])

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))

    ended = command(folder, "run", "-q", preexec_fn=limit)
    assert ended.returncode == 3
    assert "R01 work: OSError: [Errno 27] File too large" in ended.stderr
    assert len(list((folder / "dataset/out").iterdir())) == len(IDS) - 1


@pytest.fixture
def powerless(tmp_path):
    """Call the command as somebody for whom permissions count; the folders can be removed afterwards."""
    words = []
    if os.getuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("root cannot give its rights away here")
        words = [
            "setpriv",
            "--bounding-set=-dac_override,-dac_read_search",
            "--inh-caps=-dac_override,-dac_read_search",
        ]

    def call(folder, verb, *rest):
        words_of_ours = [sys.executable, "-m", "sinagot_catalog", verb, "-C", str(folder), *rest]
        return subprocess.run(
            [*words, *words_of_ours], capture_output=True, text=True, timeout=300, check=False, cwd=folder
        )

    yield call
    for path in (tmp_path, *tmp_path.rglob("*")):
        if path.is_dir():
            path.chmod(0o755)


def test_read_only_dataset_can_be_looked_at_and_run_with_outputs_elsewhere(write_workspace, powerless):
    folder = write_workspace({"work": BIG}, [f"raw/{one}" for one in IDS[:3]])
    for path in (folder / "dataset", folder / "dataset/raw"):
        path.chmod(0o555)
    assert "READY" in powerless(folder, "status").stdout
    ended = powerless(folder, "run", "-q")
    assert ended.returncode == 2
    assert f"error: the run cannot write to {folder}/dataset: permission denied" in ended.stderr
    assert "Set [path] outputs and log in workspace.toml" in ended.stderr
    with (folder / "workspace.toml").open("a") as file:
        file.write("[path]\noutputs = 'made'\nlog = 'LOG'\n")
    assert powerless(folder, "run", "-q").returncode == 0
    assert sorted(one.name for one in (folder / "made/out").iterdir()) == IDS[:3]
    assert sorted(one.name for one in (folder / "dataset").iterdir()) == ["raw"]


def test_folder_without_permission_makes_its_rows_unknown_and_they_are_left_out(write_workspace, powerless):
    files = [f"{site}/raw/{one}" for site in ("open", "shut") for one in IDS[:2]]
    folder = write_workspace(
        {"work": ("open/raw/{id}", "open/out/{id}"), "other": ("shut/raw/{id}", "shut/out/{id}")}, files
    )
    (folder / "dataset/shut").chmod(0)
    ended = powerless(folder, "run", "-q")
    assert ended.returncode == 0, ended.stderr
    shown = powerless(folder, "plan", "--csv")
    assert "unknown: cannot read" in shown.stdout
    assert len(list((folder / "dataset/open/out").iterdir())) == 2
    (folder / "dataset/shut").chmod(0o755)
    assert powerless(folder, "run", "-q").returncode == 0
    assert len(list((folder / "dataset/shut/out").iterdir())) == 2


def test_output_folder_without_permission_fails_its_rows_with_a_sentence(write_workspace, powerless):
    folder = write_workspace({"work": BIG}, ["raw/R01", "out/R02"])
    (folder / "dataset/out").chmod(0o555)
    ended = powerless(folder, "run", "-q")
    assert ended.returncode == 3
    assert "R01 work: PermissionError: [Errno 13] Permission denied" in ended.stderr


@pytest.mark.parametrize("mode", ["processes", "main_process"])
def test_dataset_that_goes_away_during_a_run_is_an_error_and_is_not_made_anew(cli, write_workspace, mode):
    body = """
        import os
        if self.id == "R05":
            os.rename(self.data_path, self.data_path.parent / "away")
        self.path.output.write_text(self.id)
    """
    folder = write_workspace({"work": ("raw/{id}", "out/{id}", body)}, [f"raw/{one}" for one in IDS])
    ended = cli("run", folder, "-q", "--workers", "1", "--mode", mode)
    assert ended.returncode == 3, ended.stderr
    assert "is gone" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (folder / "dataset").exists()
    assert sorted(one.name for one in (folder / "away/out").iterdir()) == IDS[:5]
    (folder / "away").rename(folder / "dataset")
    report = Workspace(folder).steps.filter(~_is_mover()).run(workers=1, progress=False)
    assert report.ok
    assert len(list((folder / "dataset/out").iterdir())) == len(IDS) - 1
    assert not list((folder / "dataset/LOG/.staging").iterdir())


def _is_mover():
    import polars as pl

    return pl.col("record_id") == "R05"


# -- another file system ----------------------------------------------------------------------------------------


@pytest.fixture
def elsewhere(tmp_path):
    """A folder on another file system."""
    shm = Path("/dev/shm")  # noqa: S108
    if not shm.is_dir() or shm.stat().st_dev == tmp_path.stat().st_dev or not os.access(shm, os.W_OK):
        pytest.skip("there is no other file system here")
    folder = shm / f"sinagot-{uuid.uuid4().hex}"
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


def test_outputs_through_a_link_to_another_file_system_are_whole(cli, write_workspace, elsewhere):
    folder = write_workspace({"work": BIG}, [f"raw/{one}" for one in IDS])
    (folder / "dataset/out").symlink_to(elsewhere)
    assert cli("run", folder, "-q").returncode == 0
    assert whole(folder) == len(IDS) == len(os.listdir(elsewhere))
    events = Workspace(folder).events()
    assert events["event"].value_counts().sort("event").rows() == [("done", 40), ("start", 40)]


@pytest.mark.parametrize("whom", ["self", "all"])
def test_what_a_killed_run_hid_on_another_file_system_is_swept(write_workspace, elsewhere, tmp_path, whom):
    folder = write_workspace({"work": BIG}, [f"raw/{one}" for one in IDS])
    (folder / "dataset/out").symlink_to(elsewhere)
    fault = {
        "FAULT": f"beside:7:{whom}",
        "FAULT_ROLE": "worker",
        "FAULT_DONE": str(tmp_path / "done"),
        "PYTHONPATH": SHIM,
    }
    command(folder, "run", "-q", "--workers", "1", environment=fault)
    assert (tmp_path / "done").exists()
    hidden = [name for name in os.listdir(elsewhere) if name.startswith(".")]
    assert len(hidden) == (1 if whom == "all" else 0)
    assert Workspace(folder).files.collect()["path"].str.contains("tmp").sum() == 0
    Workspace(folder).steps.run(workers=2, progress=False)
    assert sorted(os.listdir(elsewhere)) == IDS
    assert whole(folder) == len(IDS)


def test_full_other_file_system_leaves_no_part_of_a_copy(cli, write_workspace, small_disk):
    folder = write_workspace({"work": BIG}, [f"raw/{one}" for one in IDS])
    (folder / "dataset/out").mkdir()
    small_disk(folder / "dataset/out")
    ended = cli("run", folder, "-q")
    assert ended.returncode == 3
    assert "No space left on device" in ended.stderr
    assert not [one for one in os.listdir(folder / "dataset/out") if one.startswith(".")]
    assert 0 < whole(folder) < len(IDS)


def test_note_of_hidden_files_can_name_nothing_else(write_workspace, tmp_path):
    folder = write_workspace({"work": BIG}, ["raw/R01"])
    precious = [
        tmp_path / "precious.tmp",
        tmp_path / ".precious.20200101T000000-00dead.1.tmp",
        folder / "dataset/raw/R01",
    ]
    for path in precious:
        path.touch()
    staging = folder / "dataset/LOG/.staging/20200101T000000-00dead/w01"
    staging.mkdir(parents=True)
    names = [
        *map(str, precious),
        "../../.precious.20200101T000000-00dead.1.tmp",
        "raw/R01",
        "out/../../../.precious.20200101T000000-00dead.1.tmp",
        "",
    ]
    (staging / ".beside").write_bytes("\0".join(names).encode() + b"\0\xff\0")
    assert Workspace(folder).steps.run(workers=1, progress=False).ok
    assert all(path.exists() for path in precious)
    assert not staging.exists()


# -- loss of power ----------------------------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("strace") is None, reason="syncs are seen with strace")
def test_durable_run_syncs_content_before_its_name_and_names_before_the_event(write_workspace, tmp_path):
    body = "self.path.output['a'].write_text('a'); self.path.output['b'].write_text('b')"
    folder = write_workspace(
        {"work": ("raw/{id}", {"a": "new/deep/{id}-a", "b": "new/deep/{id}-b"}, body)},
        ["raw/R01"],
        toml="[run]\ndurable = true\n",
    )
    trace = tmp_path / "trace"
    calls = "trace=fsync,fdatasync,rename,renameat,renameat2,mkdir,mkdirat,write"
    words = ["strace", "-f", "-y", "-s", "60", "-o", str(trace), "-e", calls]
    words += [sys.executable, "-m", "sinagot_catalog", "run", str(folder), "-q", "--mode", "main_process"]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
    if "ptrace" in ended.stderr:
        pytest.skip("processes may not be traced here")
    assert ended.returncode == 0, ended.stderr
    lines = trace.read_text().splitlines()

    def where(*parts, after=-1):
        return next(n for n, line in enumerate(lines) if n > after and all(part in line for part in parts))

    announced = where("write(", '\\"publishing\\"')
    noted = where("sync(", "main.ndjson", after=announced)
    contents = [where("fsync(", ".staging/", f"R01-{name}>") for name in "ab"]
    renamed = [where("rename", f'R01-{name}"') for name in "ab"]
    assert max(noted, *contents) < min(renamed)
    named = where("fsync(", "dataset/new/deep>", after=max(renamed))
    for new, above in (('dataset/new"', "dataset>"), ('dataset/new/deep"', "dataset/new>")):
        assert where("fsync(", above, after=where("mkdir", new)) < max(renamed)
    assert named < where("write(", '\\"done\\"')


@pytest.mark.skipif(shutil.which("strace") is None, reason="syncs are seen with strace")
def test_run_without_durable_syncs_no_output(write_workspace, tmp_path):
    folder = write_workspace({"work": BIG}, ["raw/R01"])
    words = ["strace", "-f", "-y", "-o", str(tmp_path / "trace"), "-e", "trace=fsync"]
    words += [sys.executable, "-m", "sinagot_catalog", "run", str(folder), "-q", "--mode", "main_process"]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
    if "ptrace" in ended.stderr:
        pytest.skip("processes may not be traced here")
    assert ended.returncode == 0, ended.stderr
    traced = (tmp_path / "trace").read_text()
    assert "LOG/" in traced  # the journal is synced, and seen
    assert "R01" not in traced


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (("gc", "--older-than", "0s"), "LOG/journal/"),
        (("snapshot",), "LOG/snapshots/"),
        (("exclude", "R01", "--reason", "flat"), "exclude.csv"),
        (("report",), "report.html"),
        (("ls", "--parquet", "rows.parquet"), "rows.parquet"),
    ],
)
def test_a_folder_without_the_right_to_write_is_a_sentence_with_what_to_do(
    write_workspace, powerless, words, name
):
    folder = write_workspace({"work": BIG}, [f"raw/{one}" for one in IDS[:2]])
    assert command(folder, "run", "-q").returncode == 0
    for path in (folder, *folder.rglob("*")):
        if path.is_dir():
            path.chmod(0o555)
    ended = powerless(folder, *words)
    assert ended.returncode == 2, ended.stderr
    assert re.search(rf"^error: \S*{name}\S* cannot be written: Permission denied", ended.stderr)
    assert "Get the right to write there, or name another place" in ended.stderr
    assert ended.stderr.count("\n") == 2
