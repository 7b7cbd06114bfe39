"""How a row ends, whatever its script does: in worker processes and in the main process alike."""

import errno
import logging
import os
import resource
import shutil
import signal
import tempfile
import textwrap
from pathlib import Path

import polars as pl
import pytest

from sinagot_catalog.journal.provenance import provenance_of
from sinagot_catalog.journal.reader import Journal
from sinagot_catalog.journal.run_spec import Port, RunSpec, UnitStepSpec
from sinagot_catalog.journal.writer import read_lines
from sinagot_catalog.patterns.template import parse_labelled
from sinagot_catalog.run.executor import RunSetup
from sinagot_catalog.run.main_process import MainProcess
from sinagot_catalog.run.workers.pool import Pool
from sinagot_catalog.schema import KEYS
from sinagot_catalog.storage import open_store
from sinagot_catalog.worker.files import local_publisher
from sinagot_catalog.worker.files.staging import StagingFolder
from sinagot_catalog.worker.job import JobRunner


class Bench:
    """A dataset with scripts, and rows to run on it."""

    def __init__(self, root, mode):
        self.root = root
        self.mode = mode
        self.data = root / "data"
        self.scripts = root / "scripts"
        self.outputs = self.data
        self.cells = []
        self.runs = 0
        self.scripts.mkdir()
        (self.data / "raw").mkdir(parents=True)

    def raw(self, *ids):
        for record_id in ids:
            (self.data / "raw" / f"{record_id}.txt").write_text(record_id)

    def step(self, name, body, *, reads="raw/{id}.txt", writes=None, controls=(), **options):
        source = "from sinagot_catalog.scripts.script import ScriptTemplate\n"
        source += "class Script(ScriptTemplate):\n    def run(self):\n"
        path = self.scripts / f"{name}.py"
        path.write_text(source + textwrap.indent(textwrap.dedent(body).strip(), "        ") + "\n")

        def ports(patterns):
            return tuple(Port(label, one) for label, one in parse_labelled(patterns, fields={"id"}))

        writes = f"{name}/{{id}}.txt" if writes is None else writes
        self.cells.append(
            UnitStepSpec(None, None, name, str(path), ports(reads), ports(writes), ports(controls), **options)
        )

    def spec(self, **options):
        self.runs += 1
        log = self.outputs / "LOG"
        return RunSpec(
            f"r{self.runs}",
            str(self.data),
            str(self.outputs),
            str(log),
            str(self.scripts),
            ".+",
            tuple(self.cells),
            **options,
        )

    def run(self, *ids, console=None, workers=1, **options):
        """Run every step of the records, a group per record; results by (step, id)."""
        steps = len(self.cells)
        before = self.provenance(ids)
        groups = [[(n * steps + s, s, one) for s in range(steps)] for n, one in enumerate(ids)]
        results = []
        spec = self.spec(**options)
        executor = MainProcess() if self.mode == "main_process" else Pool(workers)
        with executor.start(RunSetup(spec, provenance=before, console=console)):
            executor.run(groups, results.extend)
        assert len({result.row for result in results}) == len(results) == steps * len(ids)
        named = {row: (self.cells[cell].step, one) for group in groups for row, cell, one in group}
        return {named[result.row]: result for result in results}

    def provenance(self, ids):
        """What the rows made in earlier runs."""
        steps = len(self.cells)
        rows = [
            {"row": n * steps + s, "record_id": one, "task": None, "modality": None, "step": cell.step}
            for n, one in enumerate(ids)
            for s, cell in enumerate(self.cells)
        ]
        schema = {"row": pl.Int64, **KEYS}
        events = Journal(open_store(str(self.outputs / "LOG"))).events()
        return provenance_of(pl.DataFrame(rows, schema=schema), events)

    def events(self, step=None, kind=None):
        """The events of the last run."""
        found = []
        for path in sorted((self.outputs / "LOG" / "journal" / f"r{self.runs}").glob("*.ndjson")):
            found += read_lines(str(path))
        return [
            event
            for event in found
            if (step is None or event["step_label"] == step) and (kind is None or event["event"] == kind)
        ]

    def kinds(self, step=None):
        return [event["event"] for event in self.events(step)]

    def left(self):
        """What lies in the dataset, but for the journal."""
        return sorted(
            str(path.relative_to(self.outputs))
            for path in self.outputs.rglob("*")
            if not path.is_dir() and "journal" not in path.parts
        )


@pytest.fixture(params=["main_process", "processes"])
def bench(request, tmp_path):
    return Bench(tmp_path, request.param)


WRITE = "self.path.output.write_text(self.path.input.read_text().lower())"


def test_a_row_reads_writes_and_is_done(bench):
    bench.raw("A")
    bench.step("low", WRITE)
    result = bench.run("A")["low", "A"]
    assert (result.outcome, result.attempts, result.extras) == ("done", 1, ())
    assert (bench.data / "low" / "A.txt").read_text() == "a"
    assert bench.left() == ["low/A.txt", "raw/A.txt"]
    assert bench.kinds() == ["start", "done"]
    read = (bench.data / "raw" / "A.txt").stat()
    assert bench.events(kind="done")[0]["inputs"] == [[read.st_size, read.st_mtime_ns]]


def test_what_is_there_already_is_left_alone_and_writes_no_event(bench):
    bench.raw("A", "B")
    bench.step("low", WRITE)
    bench.run("A")
    before = (bench.data / "low" / "A.txt").stat()
    results = bench.run("A", "B")
    assert results["low", "A"].outcome == "already_done"
    assert results["low", "B"].outcome == "done"
    assert (bench.data / "low" / "A.txt").stat() == before
    assert {event["record_id"] for event in bench.events()} == {"B"}


def test_force_runs_again_and_gives_the_old_output(bench):
    bench.raw("A")
    bench.step(
        "log",
        """
        old = self.path.previous.read_text() if self.path.previous else ""
        self.path.output.write_text(old + "x")
        """,
    )
    for expected in ("x", "xx", "xxx"):
        assert bench.run("A", force=True)["log", "A"].outcome == "done"
        assert (bench.data / "log" / "A.txt").read_text() == expected


def test_previous_of_labelled_outputs_is_a_dict_with_none_for_what_is_new(bench):
    bench.raw("A")
    bench.step(
        "two",
        """
        self.path.output["a"].write_text(str(self.path.previous["a"]))
        self.path.output["b"].write_text(str(self.path.previous["b"]))
        """,
        writes={"a": "a/{id}", "b": "b/{id}"},
    )
    (bench.data / "a").mkdir()
    (bench.data / "a" / "A").touch()
    bench.run("A", force=True)
    assert (bench.data / "a" / "A").read_text() == str(bench.data / "a" / "A")
    assert (bench.data / "b" / "A").read_text() == "None"


@pytest.mark.parametrize(
    ("body", "error_type", "message"),
    [
        ("raise ValueError('no boats')", "ValueError", "no boats"),
        ("import sys; sys.exit(3)", "SystemExit", "called sys.exit(3)"),
        ("raise BaseException('base')", "BaseException", "base"),
        ("assert False", "AssertionError", "AssertionError without a message"),
        (
            "class E(Exception):\n    def __str__(self): raise RuntimeError\nraise E",
            "E",
            "E whose message cannot be read",
        ),
        ("def f(): f()\nf()", "RecursionError", "maximum recursion depth"),
        ("import threading; raise ValueError(threading.Lock())", "ValueError", "_thread.lock"),
        ("raise ValueError('x' * 10_000_000)", "ValueError", "characters cut"),
    ],
)
def test_whatever_a_script_raises_is_an_error_of_its_row_alone(bench, body, error_type, message):
    bench.raw("A", "B")
    bench.step("bad", f"if self.id == 'A':\n{textwrap.indent(body, '    ')}\n{WRITE}")
    results = bench.run("A", "B")
    bad = results["bad", "A"]
    assert (bad.outcome, bad.error_type, bad.attempts) == ("error", error_type, 1)
    assert message in bad.message
    assert len(bad.message) < 5000
    assert results["bad", "B"].outcome == "done"
    (event,) = bench.events(kind="error")
    assert event["error_type"] == error_type
    assert 'bad.py", line ' in event["traceback"]
    assert "_job.py" not in event["traceback"]
    assert bench.left() == ["bad/B.txt", "raw/A.txt", "raw/B.txt"]


def test_half_a_file_and_an_error_leaves_what_was_there(bench):
    bench.raw("A")
    bench.step("half", "self.path.output.write_text('ha'); raise OSError('disk')")
    (bench.data / "half").mkdir()
    (bench.data / "half" / "A.txt").write_text("whole")
    assert bench.run("A", force=True)["half", "A"].message == "disk"
    assert (bench.data / "half" / "A.txt").read_text() == "whole"
    assert bench.left() == ["half/A.txt", "raw/A.txt"]


def test_a_script_that_writes_nothing_is_an_error_that_names_the_path(bench):
    bench.raw("A")
    bench.step("none", "pass")
    result = bench.run("A")["none", "A"]
    assert (result.outcome, result.error_type) == ("error", "OutputMissing")
    assert result.message == "wrote no output: none/A.txt is missing after run()"


def test_one_missing_output_of_two_publishes_neither(bench):
    bench.raw("A")
    bench.step("two", "self.path.output['a'].touch()", writes={"a": "a/{id}", "b": "b/{id}"})
    assert bench.run("A")["two", "A"].message == "wrote no output: b/A is missing after run()"
    assert bench.left() == ["raw/A.txt"]


def test_several_outputs_are_announced_before_they_appear(bench):
    bench.raw("A")
    bench.step(
        "two",
        "[path.touch() for path in self.path.output.values()]",
        writes={"a": "a/{id}", "b": "b/{id}"},
    )
    assert bench.run("A")["two", "A"].outcome == "done"
    assert bench.kinds() == ["start", "publishing", "done"]
    assert bench.events(kind="publishing")[0]["paths"] == ["a/A", "b/A"]


def test_what_else_a_script_wrote_beside_its_output_is_published_too(bench):
    bench.raw("A", "B")
    bench.step(
        "plot",
        """
        self.path.output.touch()
        self.path.output.with_suffix(".png").touch()
        (self.path.output.parent / self.id / "deep").mkdir(parents=True)
        (self.path.output.parent / self.id / "deep" / "x").touch()
        """,
    )
    results = bench.run("A", "B")
    assert set(results["plot", "A"].extras) == {"plot/A.png", "plot/A/deep/x"}
    assert set(results["plot", "B"].extras) == {"plot/B.png", "plot/B/deep/x"}
    assert (bench.data / "plot" / "A" / "deep" / "x").exists()


def test_what_a_row_leaves_anywhere_in_staging_is_its_own(bench):
    bench.raw("A", "B", "C")
    bench.step(
        "plot",
        """
        import os
        root = self.path.output.parents[1]
        if self.id == "A":
            (root / "beside.txt").touch()
            (root / "other" / "empty").mkdir(parents=True)
            os.symlink("nowhere", root / "plot" / "link")
        else:
            assert os.listdir(root) == ["plot"], os.listdir(root)
            assert os.listdir(root / "plot") == [], os.listdir(root / "plot")
        self.path.output.touch()
        """,
    )
    results = bench.run("A", "B", "C")
    assert {one.outcome for one in results.values()} == {"done"}
    assert [one.extras for one in results.values()] == [("beside.txt",), (), ()]
    assert bench.left() == [
        "beside.txt",
        "plot/A.txt",
        "plot/B.txt",
        "plot/C.txt",
        "raw/A.txt",
        "raw/B.txt",
        "raw/C.txt",
    ]


def test_a_script_that_takes_its_folder_away_and_makes_it_anew_is_fine(bench):
    bench.raw("A", "B")
    bench.step(
        "plot",
        """
        self.path.output.parent.rmdir()
        self.path.output.parent.mkdir()
        self.path.output.touch()
        """,
    )
    assert {one.outcome for one in bench.run("A", "B").values()} == {"done"}


def test_a_folder_is_published_whole_and_replaces_the_old_one(bench):
    bench.raw("A")
    bench.step(
        "parts",
        """
        self.path.output.mkdir()
        (self.path.output / str(len(list(self.path.previous.iterdir())) if self.path.previous else 0)).touch()
        """,
        writes="parts/{id}/",
    )
    assert bench.run("A", force=True)["parts", "A"].outcome == "done"
    assert bench.kinds() == ["start", "publishing", "done"]
    assert [path.name for path in (bench.data / "parts" / "A").iterdir()] == ["0"]
    assert bench.run("A", force=True)["parts", "A"].outcome == "done"
    assert [path.name for path in (bench.data / "parts" / "A").iterdir()] == ["1"]
    assert bench.left() == ["parts/A/1", "raw/A.txt"]


def test_a_file_takes_the_place_of_a_folder_and_a_folder_of_a_file(bench):
    bench.raw("A")
    body = """
    if self.path.previous is None or self.path.previous.is_file():
        self.path.output.mkdir()
        (self.path.output / 'x').touch()
    else:
        self.path.output.touch()
    """
    bench.step("one", body, writes="one/{id}")
    (bench.data / "one").mkdir()
    (bench.data / "one" / "A").touch()
    for left in ("one/A/x", "one/A", "one/A/x"):
        assert bench.run("A", force=True)["one", "A"].outcome == "done"
        assert bench.left() == [left, "raw/A.txt"]


def test_a_file_never_takes_the_place_of_a_folder_that_the_row_did_not_make(bench):
    bench.raw("A")
    bench.step("two", "self.path.output.touch()", writes="two/{id}")
    (bench.data / "two" / "A").mkdir(parents=True)
    (bench.data / "two" / "A" / "old").touch()
    result = bench.run("A", force=True)["two", "A"]
    assert (result.outcome, result.error_type) == ("error", "ForeignFile")
    assert "two/A/old is a file that this row did not make" in result.message
    assert bench.left() == ["raw/A.txt", "two/A/old"]


@pytest.mark.parametrize(
    ("body", "end"),
    [("self.path.output.mkdir()", "is an empty folder"), ("self.path.output.touch()", "asks for a folder")],
)
def test_a_folder_that_is_demanded_is_a_folder_with_something_in_it(bench, body, end):
    bench.raw("A")
    bench.step("parts", body, writes="parts/{id}/")
    assert end in bench.run("A")["parts", "A"].message
    assert bench.left() == ["raw/A.txt"]


def test_controls_are_kept_when_the_script_fails(bench):
    bench.raw("A", "B")
    bench.step(
        "check",
        """
        self.path.control.write_text(self.id)
        self.path.output.write_text("half")
        if self.id == "A":
            raise ValueError("bad quality")
        """,
        controls="control/{id}.txt",
    )
    results = bench.run("A", "B")
    assert results["check", "A"].outcome == "error"
    assert results["check", "A"].extras == ("control/A.txt",)
    assert bench.left() == ["check/B.txt", "control/A.txt", "control/B.txt", "raw/A.txt", "raw/B.txt"]


def test_a_missing_input_is_not_available_and_the_script_does_not_run(bench):
    bench.step("low", WRITE)
    result = bench.run("A")["low", "A"]
    assert result.outcome == "not_available"
    assert result.message == "Input data [raw/A.txt] not available"
    assert bench.kinds() == ["not_available"]


def test_a_missing_input_is_tried_when_asked(bench):
    bench.step("low", "self.path.output.write_text(str(self.path.input.exists()))")
    assert bench.run("A", ignore_missing=True)["low", "A"].outcome == "done"
    assert (bench.data / "low" / "A.txt").read_text() == "False"
    assert bench.events(kind="done")[0]["inputs"] == [None]


def test_a_row_that_waits_for_a_failed_one_is_blocked_and_no_other(bench):
    bench.raw("A", "B")
    bench.step("first", "if self.id == 'A': raise ValueError\nself.path.output.touch()")
    bench.step("second", "self.path.output.touch()", reads="first/{id}.txt")
    bench.step("third", "self.path.output.touch()", reads="second/{id}.txt")
    bench.step("other", "self.path.output.touch()")
    results = bench.run("A", "B")
    assert [results[step, "A"].outcome for step in ("first", "second", "third", "other")] == [
        "error",
        "blocked",
        "blocked",
        "done",
    ]
    assert results["second", "A"].message == "waits for first, which failed"
    assert results["third", "A"].message == "waits for second, which failed"
    assert all(results[step, "B"].outcome == "done" for step in ("first", "second", "third", "other"))
    assert "blocked" not in bench.kinds()


def test_a_row_that_waits_for_a_failed_folder_is_blocked(bench):
    bench.raw("A")
    bench.step("first", "raise ValueError", writes="first/{id}/")
    bench.step("second", "self.path.output.touch()", reads="first/{id}/part.txt")
    assert bench.run("A")["second", "A"].outcome == "blocked"


def test_retries_try_again_with_empty_staging(bench):
    bench.raw("A")
    bench.step(
        "flaky",
        """
        count = self.data_path / "count"
        tries = int(count.read_text()) + 1 if count.exists() else 1
        count.write_text(str(tries))
        assert not any(self.path.output.parent.iterdir())
        self.path.output.write_text(str(tries))
        if tries < 3:
            raise ValueError(f"try {tries}")
        """,
        retries=2,
    )
    result = bench.run("A")["flaky", "A"]
    assert (result.outcome, result.attempts) == ("done", 3)
    assert bench.kinds() == ["start", "log", "log", "done"]
    assert bench.events(kind="log")[0]["message"] == "attempt 1 of 3: try 1"
    assert bench.events(kind="done")[0]["attempts"] == 3


def test_retries_end(bench):
    bench.raw("A")
    bench.step("bad", "raise ValueError", retries=2)
    result = bench.run("A")["bad", "A"]
    assert (result.outcome, result.attempts) == ("error", 3)


def test_a_step_without_outputs_always_runs(bench):
    bench.raw("A")
    bench.step("tell", "self.logger.info('hello')", writes=())
    for _ in range(2):
        assert bench.run("A")["tell", "A"].outcome == "done"


def test_what_a_script_logs_is_in_the_journal_from_its_level_on(bench):
    bench.raw("A")
    bench.step(
        "talk", "self.logger.debug('low %s', 1)\nself.logger.warning('high %s', 2)\nself.path.output.touch()"
    )
    bench.run("A")
    assert [(e["message"], e["level"]) for e in bench.events(kind="log")] == [("high 2", "WARNING")]
    bench.run("A", force=True, debug=True)
    assert [e["message"] for e in bench.events(kind="log")] == ["low 1", "high 2"]


def test_a_script_cannot_leave_its_logger_changed(bench):
    bench.raw("A", "B")
    bench.step(
        "talk",
        """
        import logging
        self.logger.info("from %s", self.id)
        self.logger.setLevel(logging.CRITICAL)
        self.logger.addHandler(logging.NullHandler())
        self.logger.disabled = True
        self.path.output.touch()
        """,
    )
    bench.run("A", "B")
    assert [event["message"] for event in bench.events(kind="log")] == ["from A", "from B"]


@pytest.mark.parametrize(
    "left",
    [
        "self.logger.setLevel(50)",
        "self.logger.disabled = True",
        "self.logger.addFilter(lambda _: False)",
        "self.logger.handlers.clear()",
    ],
)
def test_nothing_that_a_script_does_to_its_logger_reaches_the_next_row(bench, left):
    bench.raw("A", "B")
    bench.step("talk", f"self.logger.info('from %s', self.id)\n{left}\nself.path.output.touch()")
    bench.run("A", "B", log_level="INFO")
    assert [event["message"] for event in bench.events(kind="log")] == ["from A", "from B"]


def test_what_run_does_to_the_process_is_undone(bench):
    bench.raw("A", "B")
    (bench.root / "away").mkdir()
    bench.step(
        "wild",
        """
        import os
        state = (os.getcwd(), os.environ.get("WILD"), os.environ.get("HOME"))
        mask = os.umask(0o077)
        os.environ["WILD"] = "1"
        del os.environ["HOME"]
        os.chdir(self.data_path.parent / "away")
        self.path.output.write_text(repr((state, mask)))
        """,
    )
    before = Path.cwd(), os.environ.get("HOME")
    bench.run("A", "B")
    assert (bench.data / "wild" / "A.txt").read_text() == (bench.data / "wild" / "B.txt").read_text()
    assert (Path.cwd(), os.environ.get("HOME")) == before
    assert "WILD" not in os.environ


def test_a_script_that_cannot_be_loaded_is_an_error_of_its_rows(bench):
    bench.raw("A")
    bench.step("broken", "pass")
    bench.step("fine", WRITE)
    (bench.scripts / "broken.py").write_text("import no_such_module\n")
    results = bench.run("A")
    assert (results["broken", "A"].outcome, results["broken", "A"].error_type) == (
        "error",
        "ModuleNotFoundError",
    )
    assert results["fine", "A"].outcome == "done"
    (bench.scripts / "broken.py").unlink()
    assert "broken.py is missing" in bench.run("A")["broken", "A"].message


def test_a_script_imports_what_lies_beside_it_when_it_loads_and_when_it_runs(bench):
    bench.raw("A")
    (bench.scripts / "beside.py").write_text("VALUE = 'early'\n")
    (bench.scripts / "later.py").write_text("VALUE = 'late'\n")
    bench.step("uses", "import later\nself.path.output.write_text(beside.VALUE + later.VALUE)")
    path = bench.scripts / "uses.py"
    path.write_text("import beside\n" + path.read_text())
    assert bench.run("A")["uses", "A"].outcome == "done"
    assert (bench.data / "uses" / "A.txt").read_text() == "earlylate"


def test_outputs_may_have_a_root_of_their_own(bench):
    bench.outputs = bench.root / "results"
    bench.outputs.mkdir()
    bench.raw("A")
    bench.step("one", WRITE)
    bench.step("two", WRITE, reads="one/{id}.txt")
    assert {result.outcome for result in bench.run("A").values()} == {"done"}
    assert bench.left() == ["one/A.txt", "two/A.txt"]
    assert [path.name for path in bench.data.iterdir()] == ["raw"]


def test_an_output_that_is_a_link_becomes_the_file_that_it_names(bench):
    bench.raw("A")
    bench.step("link", "self.path.output.symlink_to(self.path.input)")
    assert bench.run("A")["link", "A"].outcome == "done"
    assert not (bench.data / "link" / "A.txt").is_symlink()
    assert (bench.data / "link" / "A.txt").read_text() == "A"


def test_a_literal_folder_may_be_a_link_out_of_the_dataset(bench):
    bench.raw("A")
    (bench.root / "nas").mkdir()
    (bench.data / "low").symlink_to(bench.root / "nas")
    bench.step("low", WRITE)
    assert bench.run("A")["low", "A"].outcome == "done"
    assert (bench.root / "nas" / "A.txt").read_text() == "a"


def test_a_folder_named_after_a_record_may_not_be_a_link_out_of_the_dataset(bench):
    bench.raw("A")
    (bench.root / "away").mkdir()
    (bench.data / "low").mkdir()
    (bench.data / "low" / "A").symlink_to(bench.root / "away")
    bench.step("low", WRITE, writes="low/{id}/x.txt")
    result = bench.run("A")["low", "A"]
    assert result.outcome == "error"
    assert "a link that leaves the dataset" in result.message
    assert list((bench.root / "away").iterdir()) == []


@pytest.mark.parametrize("folder", ["LOG", "LOG/journal"])
def test_nothing_is_published_into_the_log(bench, folder):
    bench.raw("A")
    bench.step(
        "sly",
        f"""
        self.path.output.touch()
        path = self.path.output.parent.parent / "{folder}" / "x"
        path.parent.mkdir(parents=True)
        path.touch()
        """,
    )
    result = bench.run("A")["sly", "A"]
    assert "LOG folder" in result.message
    assert bench.left() == ["raw/A.txt"]


def test_an_input_is_never_written_over(bench):
    bench.raw("A")
    bench.step(
        "sly",
        """
        self.path.output.touch()
        path = self.path.output.parent.parent / "raw" / "A.txt"
        path.parent.mkdir()
        path.write_text("gone")
        """,
    )
    assert "its own input raw/A.txt" in bench.run("A")["sly", "A"].message
    assert (bench.data / "raw" / "A.txt").read_text() == "A"


@pytest.fixture
def far(bench):
    """A folder on another file system, to which the folder `far` of the dataset is a link."""
    shared = Path("/dev/shm")  # noqa: S108 a folder of one's own is made in it
    if not shared.is_dir() or shared.stat().st_dev == bench.root.stat().st_dev:
        pytest.skip("needs a second file system")
    far = Path(tempfile.mkdtemp(dir=shared))
    (bench.data / "far").symlink_to(far)
    yield far
    shutil.rmtree(far)


def test_long_names_that_begin_alike_reach_another_file_system(bench, far):
    bench.raw("A")
    long = "x" * 150
    bench.step(
        "far",
        "for name, path in self.path.output.items():\n    path.write_text(name)",
        writes={name: f"far/{long}-{name}-{{id}}" for name in "ab"},
    )
    assert bench.run("A")["far", "A"].outcome == "done"
    assert {path.name: path.read_text() for path in far.iterdir()} == {
        f"{long}-{name}-A": name for name in "ab"
    }


def test_another_file_system_is_reached_through_a_hidden_sibling(bench, far):
    bench.raw("A")
    bench.step(
        "far",
        "self.path.output['a'].touch()\nself.path.output['b'].mkdir()\n(self.path.output['b'] / 'x').touch()",
        writes={"a": "far/{id}.txt", "b": "far/{id}"},
    )
    for _ in range(2):
        assert bench.run("A", force=True)["far", "A"].outcome == "done"
        assert sorted(str(path.relative_to(far)) for path in far.rglob("*")) == ["A", "A.txt", "A/x"]


def test_an_id_that_holds_signs_of_formats_is_taken_as_it_is(bench):
    ids = ("a%sb", "{id}", "x y'\"", "é")
    bench.raw(*ids)
    bench.step("low", WRITE, writes="50%/{id}-%d.txt")
    assert {result.outcome for result in bench.run(*ids).values()} == {"done"}
    assert (bench.data / "50%" / "a%sb-%d.txt").read_text() == "a%sb"


def test_a_durable_run_does_the_same(bench):
    bench.raw("A")
    bench.step(
        "two",
        "self.path.output['a'].touch()\nself.path.output['b'].mkdir()\n(self.path.output['b'] / 'x').touch()",
        writes={"a": "a/{id}", "b": "b/{id}"},
    )
    assert bench.run("A", durable=True)["two", "A"].outcome == "done"
    assert bench.left() == ["a/A", "b/A/x", "raw/A.txt"]


def test_a_forked_child_that_comes_back_from_run_ends_there(bench):
    bench.raw("A", "B")
    bench.step(
        "forks",
        """
        import os, sys
        child = os.fork()
        if child == 0:
            sys.exit() if self.id == "A" else None
            return
        os.waitpid(child, 0)
        self.path.output.touch()
        """,
    )
    assert {result.outcome for result in bench.run("A", "B").values()} == {"done"}
    assert bench.kinds() == ["start", "done"] * 2


def test_an_attempt_is_announced_when_it_begins_and_taken_back_when_it_ends(tmp_path):
    bench = Bench(tmp_path, "main_process")
    bench.raw("A")
    bench.step("low", WRITE)
    seen = []
    jobs = JobRunner(bench.spec(), "w01", announce=lambda *entry: seen.append(entry))
    assert [result.outcome for result in jobs.run(([(7, 0, "A"), (8, 0, "B")], [], {}))] == [
        "done",
        "not_available",
    ]
    jobs.close()
    assert seen == [(7, 1, 0), (7, 1, 0), (-1, 0, 0)]


def test_a_row_half_published_on_a_full_disk_says_so_in_the_line_that_fits(tmp_path, monkeypatch):
    """The long line of its error finds no room; the short one that does must name the paths too."""
    bench = Bench(tmp_path, "main_process")
    bench.raw("A")
    two = "for one in self.path.output.values():\n    one.write_text('new')"
    bench.step("two", two, writes={"a": "a/{id}", "b": "b/{id}"})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    replace = os.replace

    def fill(source, target):
        if not target.endswith("/b/A"):
            replace(source, target)
            return
        size = Path(jobs.journal.path).stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, before[1]))
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), target)

    def make_room(row, *_):
        if row == -1:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    jobs = JobRunner(bench.spec(), "w01", announce=make_room)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        monkeypatch.setattr(os, "replace", fill)
        results = list(jobs.run(([(0, 0, "A")], [], {})))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
        jobs.close()
    assert [result.outcome for result in results] == ["error"]
    assert (bench.data / "a" / "A").read_text() == "new"
    assert not (bench.data / "b" / "A").exists()
    assert bench.kinds() == ["start", "publishing", "error"]
    assert bench.events(kind="error")[0]["paths"] == ["a/A", "b/A"]


@pytest.mark.parametrize("can_exchange", [True, False])
def test_a_folder_that_cannot_be_replaced_stays(tmp_path, monkeypatch, can_exchange):
    if not can_exchange:
        monkeypatch.setattr(local_publisher, "exchange", lambda *_: False)
    root, log = str(tmp_path), f"{tmp_path}/LOG"
    spec = RunSpec("r", root, root, log, "/scripts", ".+", ())
    publisher = local_publisher.LocalPublisher(spec, StagingFolder(f"{log}/s", log))
    for folder in ("LOG/s/c0/out", "out"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / folder[:3]).touch()
    with pytest.raises(OSError, match="no-such"):
        publisher.publish(f"{tmp_path}/LOG/s/c0", ["no-such", "out"])
    assert (tmp_path / "out" / "out").exists()
    publisher.publish(f"{tmp_path}/LOG/s/c0", ["out"])
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["LOG"]
    staged = [path.name for path in (tmp_path / "LOG" / "s").rglob("*")]
    assert set(staged) - {".beside"} == {"c0"}


def test_nothing_but_the_journal_is_left_in_the_log(bench):
    bench.raw("A", "B")
    bench.step("low", f"if self.id == 'A': raise ValueError\n{WRITE}")
    bench.run("A", "B")
    log = bench.data / "LOG"
    assert sorted(path.name for path in log.iterdir() if any(path.rglob("*"))) == ["journal"]


@pytest.mark.parametrize("kind", [ValueError, FileNotFoundError])
def test_debug_in_the_main_process_raises_what_the_script_raises(tmp_path, kind):
    bench = Bench(tmp_path, "main_process")
    bench.raw("A")
    bench.step("bad", f"raise {kind.__name__}('here')")
    with pytest.raises(kind, match="here"):
        bench.run("A", debug=True)
    assert bench.kinds() == ["start", "error"]


def test_the_console_of_the_main_process_gets_what_scripts_log(tmp_path, caplog):
    bench = Bench(tmp_path, "main_process")
    bench.raw("A")
    bench.step("talk", "self.logger.info('hello')\nself.path.output.touch()")
    with caplog.at_level(logging.INFO, "console-of-a-run"):
        bench.run("A", console=logging.getLogger("console-of-a-run"))
    assert caplog.messages == ["hello"]
    assert (caplog.records[0].record_id, caplog.records[0].step_label) == ("A", "talk")


def test_an_interrupt_in_the_main_process_cancels_the_rest_and_says_so(tmp_path):
    bench = Bench(tmp_path, "main_process")
    bench.raw("A", "B")
    bench.step("bad", "self.path.output.touch()\nimport signal; signal.raise_signal(signal.SIGINT)")
    results = []
    with MainProcess().start(RunSetup(bench.spec())) as runner, pytest.raises(KeyboardInterrupt):
        runner.run([[(0, 0, "A")], [(1, 0, "B")]], results.extend)
    assert [result.outcome for result in results] == ["cancelled", "cancelled"]
    assert bench.kinds() == ["start", "cancelled"]
    assert bench.left() == ["raw/A.txt", "raw/B.txt"]
