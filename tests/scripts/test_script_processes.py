"""Processes that a script starts itself: they find the script's functions and its helpers, and nothing is left."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from sinagot_catalog import Workspace

pytestmark = pytest.mark.slow

POOLS = {
    "fork": "multiprocessing.get_context('fork').Pool(2)",
    "spawn": "multiprocessing.get_context('spawn').Pool(2)",
    "forkserver": "multiprocessing.get_context('forkserver').Pool(2)",
    "executor": "Executor(2, mp_context=multiprocessing.get_context('spawn'))",
    "executor as it comes": "Executor(2)",
    "loky": "get_reusable_executor(max_workers=2, reuse=False)",
}
SCRIPT = """
import multiprocessing
from concurrent.futures import ProcessPoolExecutor as Executor
import arithmetic
from sinagot_catalog import ScriptTemplate
{head}
def double(number):
    import later
    return later.FACTOR * number + arithmetic.ZERO

class Script(ScriptTemplate):
    PATH_IN = "raw/{{id}}"
    PATH_OUT = "out/{{id}}"
    def run(self):
        with {pool} as pool:
            found = [*pool.map(double, range(3)), *pool.map(arithmetic.square, range(3))]
            found += [one.value for one in pool.map(arithmetic.Box, range(2))]
        self.path.output.write_text(str(found))
"""
LOKY = """
try:
    from loky import get_reusable_executor
except ImportError:
    from joblib.externals.loky import get_reusable_executor
"""
HELPER = """
ZERO = 0
def square(number):
    return number * number
class Box:
    def __init__(self, value):
        self.value = value
"""
EXPECTED = "[0, 2, 4, 0, 1, 4, 0, 1]"


@pytest.fixture
def folder(write_workspace):
    def make(pool, **options):
        head = LOKY if pool == "loky" else ""
        folder = write_workspace(
            {"work": SCRIPT.format(pool=POOLS[pool], head=head)}, ["raw/R1", "raw/R2"], **options
        )
        (folder / "scripts" / "arithmetic.py").write_text(HELPER)
        (folder / "scripts" / "later.py").write_text("FACTOR = 2\n")
        return folder

    return make


def texts(folder):
    return {path.name: path.read_text() for path in (folder / "dataset" / "out").iterdir()}


@pytest.mark.parametrize("pool", POOLS)
def test_processes_that_a_script_starts_find_its_functions_and_helpers(folder, pool):
    at = folder(pool, toml="[run]\ntimeout = 300")
    report = Workspace(at).steps.run(workers=1, progress=False)
    assert report.counts() == {"done": 2}, report.failures()
    assert texts(at) == {"R1": EXPECTED, "R2": EXPECTED}


@pytest.mark.parametrize("pool", ["fork", "spawn", "forkserver", "executor", "loky"])
def test_in_the_main_process_a_program_needs_no_guard(folder, tmp_path, pool):
    at = folder(pool)
    program = tmp_path / "program.py"
    program.write_text(
        textwrap.dedent(
            f"""
            import sys
            from sinagot_catalog import Workspace
            with open({str(tmp_path / "begun")!r}, "a") as file:
                file.write("begun;")
            before, main = list(sys.path), sys.modules["__main__"]
            report = Workspace({str(at)!r}).steps.run(mode="main_process", progress=False)
            print(report.counts(), sys.path == before, sys.modules["__main__"] is main, "arithmetic" in sys.modules)
            """
        )
    )
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=300, check=False)
    assert done.stdout == "{'done': 2} True True False\n", done.stderr
    assert (tmp_path / "begun").read_text() == "begun;"
    assert texts(at) == {"R1": EXPECTED, "R2": EXPECTED}


def test_a_script_of_a_modality_finds_what_lies_beside_it_and_above(write_workspace):
    toml = "[tasks.T]\nmodalities = ['EEG']\n[modalities.EEG]\nscripts = ['work']\n"
    source = SCRIPT.format(pool=POOLS["spawn"], head="")
    folder = write_workspace({"EEG/work": source}, ["raw/R1"], toml=toml, name="odd+name.50%:x")
    (folder / "scripts" / "EEG" / "arithmetic.py").write_text(HELPER)
    (folder / "scripts" / "later.py").write_text("FACTOR = 2\n")
    report = Workspace(folder).steps.run(workers=1, progress=False)
    assert report.counts() == {"done": 1}, report.failures()
    assert texts(folder) == {"R1": EXPECTED}


def test_equal_names_in_two_workspaces_never_meet(folder):
    first, second = folder("spawn", name="first"), folder("spawn", name="second")
    (second / "scripts" / "later.py").write_text("FACTOR = 3\n")
    for at in (first, second):
        assert Workspace(at).steps.run(mode="main_process", progress=False).counts() == {"done": 2}
    assert texts(first)["R1"] == EXPECTED
    assert texts(second)["R1"] == "[0, 3, 6, 0, 1, 4, 0, 1]"


def test_a_package_beside_a_script_is_found_by_processes_that_it_starts(write_workspace):
    source = """
import multiprocessing
from lab import tools
from lab.deep.inner import triple
from sinagot_catalog import ScriptTemplate
class Script(ScriptTemplate):
    PATH_IN = "raw/{id}"
    PATH_OUT = "out/{id}"
    def run(self):
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            found = pool.map(tools.double, [2]) + pool.map(triple, [2])
        self.path.output.write_text(str(found))
"""
    folder = write_workspace({"work": source}, ["raw/R1"])
    files = {
        "lab/__init__.py": "",
        "lab/tools.py": "from .deep.inner import triple\ndef double(n): return triple(n) - n\n",
        "lab/deep/__init__.py": "",
        "lab/deep/inner.py": "from .. import deep\ndef triple(n): return 3 * n\n",
    }
    for name, content in files.items():
        path = Path(folder, "scripts", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    report = Workspace(folder).steps.run(workers=1, progress=False)
    assert report.counts() == {"done": 1}, report.failures()
    assert texts(folder) == {"R1": "[4, 6]"}
