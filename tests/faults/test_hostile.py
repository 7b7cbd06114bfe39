"""Hostile workspaces: looking at any of them runs nothing, leaks nothing, and ends in seconds with a sentence."""

# ruff: noqa: E501 - tables of cases read by line

import contextlib
import os
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sinagot_catalog import Workspace
from sinagot_catalog.errors import SinagotError

SECONDS = 200
NAMES = [
    "new\nline", "quote'\"", "$(touch pwned)", "; touch pwned", "{id}", "{", "}", "back\\slash", "--help", "-rf",
    "bell\x07", "\u202egnp.exe", "é\u0301", "%s%n", "~", "..R1", ".R1", " R1 ", "R1\t", "R" * 255, "\x1b[31mred",
    "<script>alert(1)<\\script>", "a,b", "=cmd|x", "NULL", "\ufeffR1", "R1.tmp",
]  # fmt: skip


@pytest.fixture
def quick():
    """Whatever is done ends within seconds."""
    began = time.monotonic()
    yield
    assert time.monotonic() - began < SECONDS


def look(folder):
    """Ask everything that looks at a workspace; says how many rows there are, or which sentence came."""
    try:
        ws = Workspace(folder)
        counts = [ws.records.collect().height, ws.steps.collect().height, ws.files.collect().height]
        ws.units.collect()
        ws.steps.plan()
        repr(ws), repr(ws.records), ws.records._repr_html_()
    except SinagotError as error:
        told = str(error)
    else:
        return counts
    assert 0 < len(told) < 10_000
    return told


def everything_below(folder):
    return sorted(str(path.relative_to(folder)) for path in Path(folder).rglob("*"))


@pytest.mark.usefixtures("quick")
def test_names_of_any_kind_are_listed_run_and_shown(write_workspace, cli):
    folder = write_workspace({"work": ("raw/{id}.txt", "out/{id}.txt")}, id_pattern=r"(?s)[^/]+")
    names = [name for name in NAMES if len(name.encode()) <= 250]
    for name in names:
        (folder / "dataset/raw").mkdir(exist_ok=True)
        (folder / f"dataset/raw/{name}.txt").write_text("raw;")
    ws = Workspace(folder)
    assert set(ws.records.ids()) <= set(names)
    left_out = set(names) - set(ws.records.ids())
    report = ws.steps.run(workers=2, progress=False)
    assert report.ok, report.failures()
    for name in set(names) - left_out:
        assert (folder / f"dataset/out/{name}.txt").read_text() == "raw;work;"
    assert not any(path.name == "pwned" for path in folder.rglob("*"))
    assert cli("status", folder).returncode == 0
    assert cli("ls", "records", "-C", folder).returncode == 0
    assert "<script>" not in ws.records._repr_html_()


@pytest.mark.usefixtures("quick")
def test_names_that_are_no_text_depth_and_links_cost_nothing(write_workspace, tmp_path):
    folder = write_workspace(
        {"work": ("raw/{id}.txt", "out/{id}.txt")}, ["raw/R1.txt"], toml="[path]\nfollow_links = true\n"
    )
    raw = folder / "dataset/raw"
    (tmp_path / "secret.txt").write_text("secret")
    os.close(os.open(os.fsencode(raw) + b"/R\xff\xfe.txt", os.O_CREAT))
    deep = folder / "dataset/raw"
    for _ in range(100):
        deep /= "d"
    deep.mkdir(parents=True)
    (raw / "R2.txt").symlink_to(tmp_path / "secret.txt")
    (raw / "loop").symlink_to(raw)
    (raw / "up").symlink_to(tmp_path)
    (raw / "R3.txt").symlink_to("R3.txt")
    os.mkfifo(raw / "R4.txt")
    Path(folder / "workspace.toml").write_text(
        "[records]\nid_pattern = 'R\\d'\n[steps]\nscripts = ['work']\n"
    )
    ws = Workspace(folder)
    assert ws.records.ids() == ["R1", "R2"]  # a link to a file counts as that file: it is read, never written
    assert ws.steps.run(workers=1, progress=False).ok
    assert (tmp_path / "secret.txt").read_text() == "secret"


HOSTILE_TOML = {
    "empty": "",
    "a huge number": "[run]\nworkers = 99999999999999999999999999\n",
    "deep": "a = " + "[" * 5_000 + "]" * 5_000,
    "deep tables": "[" + ".".join("a" * 1 for _ in range(3_000)) + "]\nx = 1\n",
    "many keys": "".join(f"k{n} = 1\n" for n in range(20_000)),
    "a huge text": "[info]\nversion = '" + "x" * 5_000_000 + "'\n",
    "no UTF-8": b"\xff\xfe\x00",
    "zeroes": b"\0" * 1000,
    "a nested quantifier": "[records]\nid_pattern = '(a+)+$'\n[steps]\nscripts = ['work']\n",
    "a look-behind": "[records]\nid_pattern = '(?<=a)+(a|aa)+$'\n[steps]\nscripts = ['work']\n",
    "a back-reference": "[records]\nid_pattern = '(a*)*\\1\\1b'\n[steps]\nscripts = ['work']\n",
    "a huge repetition": "[records]\nid_pattern = '((a{1,1000}){1,1000}){1,1000}'\n[steps]\nscripts = ['work']\n",
    "a step outside": "[records]\nid_pattern = 'R1'\n[steps]\nscripts = ['../../../etc/passwd']\n",
    "an absolute step": "[records]\nid_pattern = 'R1'\n[steps]\nscripts = ['/etc/passwd']\n",
    "a step of zeroes": "[records]\nid_pattern = 'R1'\n[steps]\nscripts = ['a\\u0000b']\n",
    "another's files": "[path]\ndataset = '/home/somebody/.ssh'\nscripts = '/etc'\n[records]\nid_pattern = '.+'\n[steps]\nscripts = ['passwd']\n",
    "a device": "[path]\ndataset = '/dev'\n[records]\nid_pattern = '.+'\n[steps]\nscripts = ['work']\n",
    "a file for a folder": "[path]\ndataset = '/etc/passwd'\n[records]\nid_pattern = '.+'\n[steps]\nscripts = ['work']\n",
    "a level of anything": "[log]\nlevel = '${HOME}'\n[records]\nid_pattern = 'R1'\n",
    "a metadata table elsewhere": "[records]\nid_pattern = 'R1'\nmetadata = '/etc/passwd'\n[steps]\nscripts = ['work']\n",
    "a name of ours": "[records]\nid_pattern = 'R1'\n[tasks.run]\nmodalities = ['__class__']\n[modalities.__class__]\nscripts = []\n",
}


@pytest.mark.parametrize("name", HOSTILE_TOML)
@pytest.mark.usefixtures("quick")
def test_config_of_any_kind_ends_in_rows_or_a_sentence(write_workspace, name):
    folder = write_workspace({"work": ("raw/{id}", "out/{id}")}, ["raw/R1", "raw/" + "a" * 40])
    content = HOSTILE_TOML[name]
    (folder / "workspace.toml").write_bytes(content if isinstance(content, bytes) else content.encode())
    before = everything_below(folder)
    told = look(folder)
    assert everything_below(folder) == before  # a look writes nothing
    if isinstance(told, str):
        assert len(told) < 10_000
        assert "root:x:0" not in told


PATTERNS = ["../{id}", "raw/../../{id}", "/etc/{id}", "/{id}", "..", "LOG/{id}", "raw/{id}/../x", "raw//{id}", "{id}/" * 60 + "x",
            "raw/{id}\0", "~/{id}", "file:///etc/{id}", "{id}{id}{id}", "raw/{ID}", "raw/{0}", "raw/{id!r}", "raw/{id.__class__}"]  # fmt: skip


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("way", ["in", "out"])
@pytest.mark.usefixtures("quick")
def test_pattern_never_leads_out_of_the_dataset(write_workspace, tmp_path, pattern, way):
    (tmp_path / "R1").write_text("secret")
    paths = (pattern, "out/{id}") if way == "in" else ("raw/{id}", pattern)
    folder = write_workspace({"work": paths}, ["raw/R1"])
    before = everything_below(tmp_path)
    told = look(folder)
    assert everything_below(tmp_path) == before
    with contextlib.suppress(SinagotError):
        Workspace(folder).steps.run(workers=1, progress=False, mode="main_process")
    outside = [path for path in everything_below(tmp_path) if not path.startswith("workspace/dataset")]
    assert [path for path in outside if "__pycache__" not in path] == [
        path for path in before if not path.startswith("workspace/dataset")
    ]
    assert told


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|aa)+$", "(?<=a)(a+)+$", r"(a*)*\1b", "(?=(a+)+)a+b"])
def test_regex_that_would_blow_up_ends(write_workspace, pattern):
    files = ["raw/" + "a" * n + "!" for n in (30, 60, 120, 250)] + ["raw/aa"]
    folder = write_workspace({"work": ("raw/{id}", "out/{id}")}, files, id_pattern=pattern)
    began = time.monotonic()
    told = look(folder)
    assert time.monotonic() - began < SECONDS
    assert isinstance(told, list) or "repeats what is itself repeated" in told or "id_pattern" in told


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=40).filter(
    lambda one: one not in (".", "..") and len(one.encode()) < 200
)


@pytest.mark.slow
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(names=st.lists(TEXT, min_size=1, max_size=12, unique=True), folder_name=TEXT)
def test_any_names_are_listed_as_python_lists_them(tmp_path_factory, names, folder_name):
    folder = tmp_path_factory.mktemp("fuzz")
    raw = folder / "dataset" / folder_name
    raw.mkdir(parents=True)
    (folder / "scripts").mkdir()
    literal = folder_name.replace("{", "{{").replace("}", "}}")
    (folder / "workspace.toml").write_text("[records]\nid_pattern = '(?s).+'\n[steps]\nscripts = ['work']\n")
    source = f"class Script(ScriptTemplate):\n    PATH_IN = ({literal!r}, '{{id}}')\n    PATH_OUT = ('made', '{{id}}')\n"
    source = "from sinagot_catalog import ScriptTemplate\n" + source + "    def run(self): pass\n"
    (folder / "scripts" / "work.py").write_text(source)
    for name in names:
        try:
            (raw / name).touch()
        except OSError:
            return
    before = everything_below(folder)
    told = look(folder)
    assert everything_below(folder) == before
    if not isinstance(told, str):
        assert told[0] <= len(names)


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(data=st.data())
def test_spoilt_config_ends_in_rows_or_a_sentence(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "dataset").mkdir()
    (folder / "scripts").mkdir()
    text = "[path]\ndataset = 'dataset'\n[records]\nid_pattern = 'R\\d+'\n[steps]\nscripts = ['work']\n[run]\nworkers = 2\nlease = 60.0\n"
    at = data.draw(st.integers(0, len(text)))
    cut = data.draw(st.integers(0, 12))
    put = data.draw(
        st.text(max_size=12)
        | st.sampled_from(["[[run]]", "\0", "= {}", "'''", "[a.b.c]", "nan", "1979-05-27", "../../.."])
    )
    (folder / "workspace.toml").write_bytes(
        (text[:at] + put + text[at + cut :]).encode("utf-8", "surrogatepass")
    )
    look(folder)
