"""The same three lines work wherever Python runs."""

import os
import subprocess
import sys

import nbclient
import nbformat
import pytest

pytestmark = pytest.mark.slow

LINES = """
from sinagot_catalog import Workspace
ws = Workspace({folder!r})
report = ws.steps.run(workers=2)
"""


def check(folder):
    assert sorted(path.name for path in (folder / "dataset/summary").iterdir()) == [
        "REC-20200601.json", "REC-20200602.json", "REC-20200603.json",
    ]  # fmt: skip


def run(*command, **options):
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, **options)
    assert done.returncode == 0, done.stderr
    return done


def test_in_a_script_file_without_a_main_guard(harbor_folder, tmp_path):
    script = tmp_path / "mine.py"
    script.write_text(LINES.format(folder=str(harbor_folder)) + "print(report)\n")
    assert run(sys.executable, script).stdout == "<RunReport | 9 done>\n"
    check(harbor_folder)


def test_piped_into_python(harbor_folder):
    text = LINES.format(folder=str(harbor_folder)) + "print(report)\n"
    assert run(sys.executable, "-", input=text).stdout == "<RunReport | 9 done>\n"
    check(harbor_folder)


def test_on_the_command_line_of_python(harbor_folder):
    run(sys.executable, "-c", LINES.format(folder=str(harbor_folder)))
    check(harbor_folder)


def test_from_another_folder_with_a_module_named_like_one_of_ours(harbor_folder, tmp_path):
    for name in ("polars", "json", "script", "worker", "sinagot_catalog_worker"):
        (tmp_path / f"{name}_.py").touch()
    (tmp_path / "count.py").write_text("raise SystemExit('not this one')\n")
    run(sys.executable, "-", input=LINES.format(folder=str(harbor_folder)), cwd=tmp_path)
    check(harbor_folder)


def test_in_ipython(harbor_folder, tmp_path):
    environment = {**os.environ, "IPYTHONDIR": str(tmp_path / "ipython")}
    text = LINES.format(folder=str(harbor_folder)) + "\nreport\n"
    done = run(
        sys.executable,
        "-m",
        "IPython",
        "--simple-prompt",
        "--no-banner",
        "--colors=NoColor",
        input=text,
        env=environment,
    )
    assert "<RunReport | 9 done>" in done.stdout
    check(harbor_folder)


def test_in_a_notebook(harbor_folder, tmp_path):
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [
        nbformat.v4.new_code_cell(LINES.format(folder=str(harbor_folder))),
        nbformat.v4.new_code_cell("report"),
        nbformat.v4.new_code_cell("ws.steps"),
    ]
    # A child of its own: the client's event loop and sockets are not this process'.
    path = tmp_path / "tour.ipynb"
    nbformat.write(notebook, path)
    program = """if True:
        import sys, nbformat, nbclient
        notebook = nbformat.read(sys.argv[1], 4)
        nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
        nbformat.write(notebook, sys.argv[1])
    """
    assert nbclient
    environment = {**os.environ, "IPYTHONDIR": str(tmp_path / "ipython"), "JUPYTER_PLATFORM_DIRS": "1"}
    run(sys.executable, "-c", program, path, env=environment)
    executed = nbformat.read(path, 4)
    pages = ["".join(str(output.get("data", "")) for output in cell.outputs) for cell in executed.cells]
    assert "9 done" in pages[1]
    assert "9 steps" in pages[2]
    check(harbor_folder)
