"""Every block of code in the READMEs runs, on a copy of the examples, and gives what stands there."""

import doctest
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from sinagot_catalog import Workspace

ROOT = Path(__file__).parent.parent
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path) -> list[tuple[str, str]]:
    """The code blocks of a page: language and text."""
    return BLOCK.findall(page.read_text())


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that looks like a fresh checkout, and is the current one."""
    left_out = shutil.ignore_patterns("LOG", "count", "mean", "summary", "__pycache__")
    shutil.copytree(ROOT / "example", tmp_path / "example", ignore=left_out)
    shutil.copytree(ROOT / "tests" / "scripts_that_fail", tmp_path / "tests" / "scripts_that_fail")
    for file in ("README.md", "pyproject.toml"):
        shutil.copy(ROOT / file, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_python(text: str, name: str) -> None:
    """Run the `>>>` lines of a page in one namespace."""
    test = doctest.DocTestParser().get_doctest(text, {}, name, name, 0)
    assert test.examples
    out: list[str] = []
    with pl.Config(tbl_width_chars=120):
        failed, _ = doctest.DocTestRunner(optionflags=FLAGS, verbose=False).run(test, out=out.append)
    assert not failed, "".join(out)


def run_console(text: str, folder: Path, environment: dict[str, str]) -> None:
    """Run the `$` lines of a block (`>` goes on with one) and compare stdout with what stands below them."""
    checker = doctest.OutputChecker()
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        first, *more = part.split("\n")
        length = next((n for n, line in enumerate(more) if not line.startswith(">")), len(more))
        command = "\n".join([first, *(line[2:] for line in more[:length])])
        expected = "\n".join(more[length:])
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert checker.check_output(expected, done.stdout, FLAGS), f"$ {command}\n{done.stdout}{done.stderr}"


def environment_of(**more: str) -> dict[str, str]:
    """The environment in which `sinagot-catalog` is the one of this Python."""
    here = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": here, "COLUMNS": "120", **more}


def test_the_python_of_the_readme_gives_what_stands_there(checkout: Path) -> None:
    run_python("".join(text for kind, text in blocks(checkout / "README.md") if kind == "pycon"), "README.md")


def test_the_files_that_the_readme_shows_are_those_of_the_example(checkout: Path) -> None:
    shown = [text for _, text in blocks(checkout / "README.md") if text.startswith("# example/")]
    assert len(shown) == 2
    for text in shown:
        first, _, rest = text.partition("\n")
        lines = (checkout / first.removeprefix("# ")).read_text().splitlines()
        assert [line for line in lines if not line.startswith("#")] == rest.splitlines()


def test_the_other_forms_of_a_step_run(checkout: Path) -> None:
    function, command = (
        text for _, text in blocks(checkout / "README.md") if "@step" in text or "command =" in text
    )
    folder = checkout / "example" / "harbor"
    (folder / "scripts" / "lines.py").write_text(function)
    config = (folder / "workspace.toml").read_text()
    config = config.replace('"summary"]', '"summary", "lines", "clean"]') + command.replace(
        "Rscript clean.R", "cp"
    )
    (folder / "workspace.toml").write_text(config)
    report = Workspace(folder).steps.filter(pl.col("step").is_in(["lines", "clean"])).run(progress=False)
    assert report.counts() == {"done": 60}
    assert (folder / "dataset" / "lines" / "REC-20200601.txt").read_text() == "32"
    assert (folder / "dataset" / "clean" / "REC-20200601.csv").exists()


def test_the_commands_of_the_readme_give_what_stands_there(checkout: Path) -> None:
    # it stops the server in the end, so it has one of its own
    environment = environment_of(SINAGOT_CATALOG_HOME=str(checkout / "home"))
    try:
        for kind, text in blocks(checkout / "README.md"):
            if kind == "console":
                run_console(text, checkout, environment)
    finally:
        subprocess.run(
            ["sinagot-catalog", "server", "stop"],
            env=environment,
            capture_output=True,
            timeout=60,
            check=False,
        )


@pytest.mark.usefixtures("prefect_server")
def test_the_two_commands_are_the_two_commands(checkout: Path) -> None:
    commands = [text.strip() for kind, text in blocks(checkout / "README.md") if kind == "sh"]
    assert commands == [
        "pip install . && sinagot-catalog submit example/harbor",
        "pip install '.[test]' && pytest",
    ]
    submit = commands[0].partition(" && ")[2]
    for said in ("90 done in", "nothing to do"):
        done = subprocess.run(
            ["bash", "-c", submit],
            env=environment_of(),
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert said in done.stdout + done.stderr


def test_links_to_files_lead_somewhere() -> None:
    for page in (ROOT / "README.md", *(ROOT / "example").glob("*.md"), *(ROOT / "example").glob("*/*.md")):
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            assert target.startswith("http") or (page.parent / target).exists(), f"{page}: {target}"
