"""What is imported when: looking needs neither Prefect nor the user's code, a worker no frames."""

import json
import subprocess
import sys

import pytest

TELL = "; import sys, json; print(json.dumps(sorted(sys.modules)))"


def modules(program, *arguments):
    done = subprocess.run(
        [sys.executable, "-c", program + TELL, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_importing_the_package_brings_nothing_heavy():
    heavy = {"polars", "pyarrow", "prefect", "fsspec", "pydantic", "rich"}
    assert not heavy & modules("import sinagot_catalog")
    assert not heavy & modules("from sinagot_catalog import ScriptTemplate, StepStatus, SinagotError")


def test_worker_has_neither_frames_nor_storage_nor_models():
    loaded = modules("import sinagot_catalog.worker.__main__")
    assert not {"polars", "pyarrow", "prefect", "fsspec", "pydantic", "rich", "asyncio"} & loaded


def test_a_process_of_a_cluster_has_neither_frames_nor_models_nor_prefect():
    loaded = modules("from sinagot_catalog.cluster.remote_batch import run_batch")
    assert not {"polars", "pyarrow", "prefect", "fsspec", "pydantic", "rich"} & loaded


@pytest.mark.slow
@pytest.mark.parametrize(
    "verb", ["ws.steps.collect()", "ws.records.ids()", "ws.steps.plan()", "ws.files.collect()", "pass"]
)
def test_looking_loads_neither_prefect_nor_the_users_scripts(harbor_folder, verb):
    program = f"import sys; from sinagot_catalog import Workspace; ws = Workspace(sys.argv[1]); {verb}"
    for name in ("count", "mean", "summary"):
        path = harbor_folder / "scripts" / f"{name}.py"
        path.write_text(path.read_text() + "\nraise SystemExit('a script was run by looking')\n")
    loaded = modules(program, harbor_folder)
    assert not [
        name
        for name in loaded
        if name.split(".")[0] in ("prefect", "count", "mean", "summary", "fsspec", "moto")
    ]


def test_running_loads_no_prefect(harbor_folder):
    program = "import sys; from sinagot_catalog import Workspace; Workspace(sys.argv[1]).steps.run(workers=2)"
    assert "prefect" not in modules(program, harbor_folder)


def test_every_public_name_is_there():
    import sinagot_catalog

    for name in sinagot_catalog.__all__:
        assert getattr(sinagot_catalog, name) is not None
    assert set(sinagot_catalog.__all__) <= set(dir(sinagot_catalog))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = sinagot_catalog.nothing
