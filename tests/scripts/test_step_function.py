"""A step may be a function under `@step`: read without running it, found by its file, filled by name."""

# ruff: noqa: A002 - a step asks for them by these names

import pickle
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from sinagot_catalog import ScriptTemplate, step
from sinagot_catalog.errors import NotFoundError, UsageError
from sinagot_catalog.scripts import ScriptHost, read_script

HEAD = "from sinagot_catalog import step\n"

COUNT = '''
from sinagot_catalog import step

@step(inputs="raw/{id}-raw.csv", outputs="count/{id}.csv")
def count(input, output):
    """Count the boats."""
    output.write_text(str(len(input.read_text().split())))
'''


@pytest.fixture
def write(tmp_path):
    def write(text, name="count.py"):
        path = tmp_path / name
        path.write_text(textwrap.dedent(text))
        return str(path)

    return write


# -- read ------------------------------------------------------------------------------------------------


def test_the_decorators_keywords_are_read_as_class_attributes_are(write):
    source = read_script(
        write("""
        import sinagot_catalog as sc
        RAW, EXT = "raw", ".csv"

        @sc.step(
            inputs={"a": (RAW, "{id}" + EXT), "b": ["x", "{id}"]},
            outputs=f"out/{{id}}{EXT}",
            control=None,
            version=3,
            retries=1 + 1,
            timeout=60,
        )
        def count(input, output, *, id, logger): ...
        """)
    )
    assert source.error is None
    assert source.path_in == {"a": ("raw", "{id}.csv"), "b": ("x", "{id}")}
    assert source.path_out == "out/{id}.csv"
    assert source.path_control is None
    assert (source.version, source.retries, source.timeout) == ("3", 2, 60.0)
    assert (source.line, source.lines["PATH_OUT"]) == (13, 7)


def test_reading_a_function_runs_nothing(write, tmp_path):
    trap = tmp_path / "trap"
    text = HEAD + f'open({str(trap)!r}, "w")\n@step(outputs="o/{{id}}")\ndef count(output): ...\n'
    assert read_script(write(text)).error is None
    assert not trap.exists()


def test_what_the_decorator_computes_is_evaluated_only_where_the_workspace_is_trusted(write):
    path = write(HEAD + "def made(): return 'out/{id}'\n@step(outputs=made())\ndef count(output): ...\n")
    assert read_script(path, name="count.py").error.startswith("count.py:3: outputs is computed; ")
    assert read_script(path, distrust=lambda: None).path_out == "out/{id}"
    path = write(HEAD + "OPTIONS = dict(outputs='o/{id}')\n@step(**OPTIONS)\ndef count(output): ...\n")
    assert read_script(path, distrust=lambda: None).path_out == "o/{id}"


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (
            "@step(inputs='raw/{id}')\ndef count(\n    inptu): ...",
            "count.py:4: count() asks for 'inptu', which no step has; did you mean 'input'?",
        ),
        ("@step()\ndef count(*input): ...", "count.py:3: count() takes any number of 'input'"),
        ("@step()\nasync def count(input): ...", "count.py:3: count() is async"),
        (
            "@step(input='raw/{id}')\ndef count(input): ...",
            "count.py:2: @step has no 'input'; did you mean 'inputs'",
        ),
        (
            "@step('raw/{id}')\ndef count(input): ...",
            "count.py:2: @step takes keywords: write @step(inputs=…",
        ),
        ("@step\ndef count(input): ...", "count.py:2: @step has arguments: write @step(inputs=…"),
        ("@step(inputs=3)\ndef count(input): ...", "count.py:2: inputs is of type int: a path pattern is"),
        ("@step(retries=-1)\ndef count(): ...", "count.py:2: retries is not a whole number"),
        (
            "@step()\ndef count(): ...\n@step()\ndef mean(): ...",
            "count.py:5: more than one step function: count (line 3), mean (line 5); a file is one step",
        ),
        (
            "class Script: ...\n@step()\ndef mean(): ...",
            "count.py:4: both a class Script and the step function mean; keep one",
        ),
    ],
)
def test_a_fault_is_told_with_its_line_and_the_near_name(write, body, error):
    assert read_script(write(HEAD + body), name="count.py").error.startswith(error)


def test_a_function_of_that_name_from_elsewhere_is_no_step(write):
    source = read_script(write("from prefect import step\n@step()\ndef count(input): ...\n"))
    assert "no class Script" in source.error


# -- loaded -----------------------------------------------------------------------------------------------


def test_a_function_is_loaded_as_a_script_class(write, tmp_path):
    path = write(COUNT)
    found = ScriptHost(str(tmp_path)).load(path)
    assert issubclass(found, ScriptTemplate)
    assert (found.__name__, found.__doc__) == ("count", "Count the boats.")
    assert (found.PATH_IN, found.PATH_OUT) == ("raw/{id}-raw.csv", "count/{id}.csv")
    assert pickle.loads(pickle.dumps(found)) is found  # noqa: S301


def test_every_parameter_is_filled_by_its_name(tmp_path):
    told = {}

    @step(inputs={"a": "raw/{id}"}, outputs="out/{id}", control="qc/{id}")
    def every(  # noqa: PLR0917
        id, input, /, output, control, previous, task, modality, *, label, logger, debug, data_path, opts
    ):
        told.update(locals())

    every("R1", data_path=tmp_path, task="T", modality="M", label="every", debug=True).run()
    told.pop("told", None)
    logger = told.pop("logger")
    assert told == {
        "id": "R1",
        "input": {"a": tmp_path / "raw/R1"},
        "output": tmp_path / "out/R1",
        "control": tmp_path / "qc/R1",
        "previous": None,
        "task": "T",
        "modality": "M",
        "label": "every",
        "debug": True,
        "data_path": tmp_path,
        "opts": {},
    }
    assert hasattr(logger, "info")


def test_the_function_itself_can_be_called():
    @step(outputs="o/{id}")
    def twice(input, output):
        return input * 2 + output

    assert twice.function(1, output=2) == 4


@pytest.mark.parametrize(
    ("body", "error", "sentence"),
    [
        (
            "@step()\ndef count(ouput): ...",
            UsageError,
            "count.py:2: count() asks for 'ouput', which no step has; did",
        ),
        ("@step\ndef count(): ...", UsageError, "count.py:2: @step has arguments"),
        ("@step()\ndef a(): ...\n@step()\ndef b(): ...", NotFoundError, "more than one step function: a, b"),
        (
            "class Script: ...\n@step()\ndef b(): ...",
            NotFoundError,
            "both a class Script and the step function b",
        ),
    ],
)
def test_loading_refuses_what_reading_refuses(write, tmp_path, body, error, sentence):
    with pytest.raises(error) as caught:
        ScriptHost(str(tmp_path)).load(write(HEAD + body))
    assert sentence in str(caught.value)


def test_step_brings_nothing_heavy():
    code = (
        "from sinagot_catalog import step; import sys; "
        "print([m for m in ('polars', 'pyarrow', 'fsspec', 'pydantic', 'prefect', 'rich') if m in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


# -- run --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["processes", "main_process"])
def test_functions_and_classes_run_side_by_side(make_workspace, mode):
    second = HEAD + (
        "import tools\n"
        "@step(inputs={'n': 'count/{id}.csv'}, outputs={'x': 'mean/{id}.csv'}, retries=1)\n"
        "def anything(input, output, logger, id):\n"
        "    logger.info('at %s', id)\n"
        "    output['x'].write_text(tools.twice(input['n'].read_text()))\n"
    )
    ws = make_workspace(
        {"count": COUNT, "mean": second, "last": ("mean/{id}.csv", "last/{id}.txt")},
        {"raw/R1-raw.csv": "a b c", "raw/R2-raw.csv": "a"},
    )
    folder = ws.config.scripts
    Path(folder, "tools.py").write_text("def twice(text): return text * 2\n")
    report = ws.steps.run(mode=mode, downstream=True, progress=False)
    assert report.ok, report.frame["message"].to_list()
    assert Path(ws.data_path, "last/R1.txt").read_text() == "33last;"
    assert Path(ws.data_path, "last/R2.txt").read_text() == "11last;"
    assert ws.steps.collect()["status"].unique().to_list() == ["DONE"]


def test_a_faulty_function_is_an_error_of_its_step_alone(make_workspace):
    wrong = HEAD + "@step(inputs='raw/{id}.csv', outputs='b/{idd}.csv')\ndef b(input, output): ...\n"
    ws = make_workspace({"a": ("raw/{id}.csv", "a/{id}.csv"), "b": wrong}, ["raw/R1.csv"])
    rows = {row["step"]: row for row in ws.steps.collect().to_dicts()}
    assert rows["a"]["status"] == "DATA_READY"
    assert rows["b"]["status"] == "ERROR"
    assert "scripts/b.py:2: outputs: unknown placeholder {idd}" in rows["b"]["reason"]
