"""Every block of code in the README, the guide and the examples' pages runs, in the order of its page.

The console blocks of a page run in one shell, its Python blocks in one session, both in the same folder.
"""

import doctest
import http.server
import json
import os
import queue
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pytest

from sinagot_catalog import Workspace
from sinagot_catalog.flows.server.local_server import LocalServer
from tests.buckets import s3_bucket
from tests.servers import Slurm

ROOT = Path(__file__).parent.parent
GUIDE = ROOT / "example" / "guide"
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MARK = "-- end of a command --"
STAND_IN = """#!/bin/sh
# stands in for Rscript and matlab: copies the input to the output
case "$1" in
  -batch) set -- $(echo "$2" | sed "s/.*('\\(.*\\)', '\\(.*\\)').*/\\1 \\2/"); cp "$1" "$2" ;;
  *) cp "$2" "$3" ;;
esac
"""


def blocks(page: Path) -> list[tuple[str, str]]:
    """The code blocks of a page: language and text."""
    return BLOCK.findall(page.read_text())


def commands(text: str) -> list[tuple[str, str]]:
    """The commands of a console block (`>` continues one), each with the output that is expected of it."""
    out = []
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        first, *more = part.split("\n")
        length = next((n for n, line in enumerate(more) if not line.startswith(">")), len(more))
        command = "\n".join([first, *(line[2:] for line in more[:length])])
        out.append((command, "\n".join(more[length:])))
    return out


def run_console(text: list[str], folder: Path, environment: dict[str, str]) -> None:
    """Run console blocks in one shell and compare the stdout of each command."""
    steps = [step for block in text for step in commands(block)]
    script = "".join(f"{command}\nprintf '%s\\n' '{MARK}'\n" for command, _ in steps)
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=800,
        check=False,
    )
    checker = doctest.OutputChecker()
    outputs = done.stdout.split(f"{MARK}\n")
    assert len(outputs) == len(steps) + 1, done.stdout + done.stderr
    for (command, expected), output in zip(steps, outputs, strict=False):
        assert checker.check_output(expected, output, FLAGS), f"$ {command}\n{output}{done.stderr}"


def run_python(text: str, name: str) -> None:
    """Run `>>>` lines in one namespace."""
    test = doctest.DocTestParser().get_doctest(text, {}, name, name, 0)
    assert test.examples
    out: list[str] = []
    with pl.Config(tbl_width_chars=120):
        failed, _ = doctest.DocTestRunner(optionflags=FLAGS, verbose=False).run(test, out=out.append)
    assert not failed, "".join(out)


def environment_of(**more: str) -> dict[str, str]:
    """The environment in which `sinagot-catalog` is the one of this Python."""
    here = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": here, "COLUMNS": "120", **more}


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that looks like a fresh checkout, and is the current one."""
    made = ("LOG", "count", "mean", "summary", "measured", "sheets", "exclude.csv", "__pycache__")
    left_out = shutil.ignore_patterns(*made)
    shutil.copytree(ROOT / "example", tmp_path / "example", ignore=left_out)
    for file in ("README.md", "pyproject.toml"):
        shutil.copy(ROOT / file, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def server_home(tmp_path: Path, grow_prefect: Callable[[Path], None]):
    """The environment of a local Prefect server of its own; stopped at the end."""
    grow_prefect(tmp_path / "server-home")
    environment = environment_of(SINAGOT_CATALOG_HOME=str(tmp_path / "server-home"))
    yield environment
    subprocess.run(
        ["sinagot-catalog", "server", "stop"], env=environment, capture_output=True, timeout=300, check=False
    )


@pytest.fixture
def bucket(moto_url: str) -> dict[str, str]:
    """The environment of a store that holds two days of the harbour."""
    lab = s3_bucket(moto_url, "lab")
    raw = ROOT / "example" / "harbor" / "dataset" / "raw"
    names = [f"{day}-raw.csv" for day in ("REC-20200601", "REC-20200602")]
    lab.put({f"harbour/raw/{name}": (raw / name).read_bytes() for name in names})
    return lab.environment


def write_workspaces(page: Path, folder: Path) -> None:
    """Write the toml blocks of a page whose first line names their file."""
    for kind, text in blocks(page):
        named = re.match(r"# (\S+)/workspace\.toml\n", text)
        if kind == "toml" and named and not text.startswith("# example/"):
            (folder / named[1]).mkdir(parents=True)
            (folder / named[1] / "workspace.toml").write_text(text)


def follow(page: Path, folder: Path, environment: dict[str, str]) -> None:
    """Do what a page says, from its top to its bottom."""
    write_workspaces(page, folder)
    console = [text for kind, text in blocks(page) if kind == "console"]
    if console:
        run_console(console, folder, environment)
    session = "".join(text for kind, text in blocks(page) if kind == "pycon")
    if session:
        run_python(session, page.name)


@pytest.mark.slow
def test_the_readme_can_be_followed_from_the_top_to_the_bottom(checkout: Path) -> None:
    follow(checkout / "README.md", checkout, environment_of())


@pytest.mark.usefixtures("prefect_server")
def test_the_two_commands_are_the_two_commands(checkout: Path) -> None:
    lines = [text.strip() for kind, text in blocks(checkout / "README.md") if kind == "sh"]
    assert lines == [
        "pip install . && sinagot-catalog submit example/harbor",
        "pip install '.[test]' && pytest",
    ]
    submit = lines[0].partition(" && ")[2]
    for message in ("90 done in", "nothing to do"):
        done = subprocess.run(
            ["bash", "-c", submit],
            env=environment_of(),
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert message in done.stdout + done.stderr


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


@pytest.mark.slow
@pytest.mark.parametrize(
    "page",
    [
        "statuses.md",
        "moving-from-snakemake.md",
        "clusters.md",
        "slurm.md",
        "workspace-toml.md",
        "cannot.md",
        "decisions.md",
        "layouts.md",
        "report-and-ui.md",
    ],
)
def test_a_page_of_the_guide_can_be_followed(page: str, checkout: Path) -> None:
    follow(GUIDE / page, checkout, environment_of())


@pytest.mark.slow
def test_the_page_of_shots_can_be_followed(checkout: Path) -> None:
    follow(checkout / "example" / "shots" / "README.md", checkout, environment_of())


def test_the_prefect_page_can_be_followed(checkout: Path, server_home: dict[str, str]) -> None:
    follow(GUIDE / "prefect.md", checkout, server_home)


def test_the_flows_of_your_own_run(checkout: Path, prefect_server: LocalServer) -> None:
    environment = environment_of(
        PREFECT_API_URL=prefect_server.api_url, PREFECT_API_AUTH_STRING=prefect_server.auth
    )
    page = GUIDE / "own-flows.md"
    follow(page, checkout, environment)
    programs = [text for kind, text in blocks(page) if kind == "python"]
    wanted = [["6 done"], ["count: 3 done", "the rest: 4 done"]]
    for program, lines in zip(programs, wanted, strict=True):
        done = subprocess.run(
            [sys.executable, "-c", program],
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        for line in lines:
            assert line in done.stdout + done.stderr


def run_program(
    text: str, folder: Path, environment: dict[str, str], interpreter: str = sys.executable
) -> str:
    """Run a program of a page, in Python or a shell; its stdout."""
    done = subprocess.run(
        [interpreter, "-c", text],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_jobs_of_container_pools_are_filled_in(checkout: Path, prefect_server: LocalServer) -> None:
    page = GUIDE / "containers.md"
    follow(page, checkout, environment_of())
    [program] = [text for kind, text in blocks(page) if kind == "python"]
    said = run_program(program, checkout, environment_of(**prefect_server.environment))
    box, end = json.JSONDecoder().raw_decode(said)
    job = json.loads(said[end:])
    volume = f"{checkout}/harbour:{checkout}/harbour"
    assert (box["image"], box["mem_limit"], box["volumes"]) == ("lab/harbour:3", "16g", [volume])
    assert box["env"] == {"TZ": "Europe/Paris"}
    assert (job["kind"], job["metadata"]["namespace"]) == ("Job", "lab")
    assert job["spec"]["ttlSecondsAfterFinished"] == 3600
    pod = job["spec"]["template"]["spec"]
    assert pod["serviceAccountName"] == "harbour"
    [container] = pod["containers"]
    assert container["image"] == "lab/harbour:3"
    assert container["resources"] == {
        "limits": {"memory": "16Gi"},
        "requests": {"cpu": "4", "memory": "16Gi"},
    }


@pytest.fixture
def chat() -> Iterator[tuple[str, queue.Queue[str]]]:
    """The address of a chat, and the messages that come in."""
    messages: queue.Queue[str] = queue.Queue()

    class Chat(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            messages.put(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["text"])
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Chat) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", messages
        server.shutdown()


def test_a_failed_night_is_told(
    checkout: Path, prefect_server: LocalServer, chat: tuple[str, queue.Queue[str]]
) -> None:
    page = GUIDE / "failed-night.md"
    follow(page, checkout, environment_of())
    [program] = [text for kind, text in blocks(page) if kind == "python"]
    environment = environment_of(LAB_CHAT=chat[0], **prefect_server.environment)
    run_program(program, checkout, environment)
    prefect = Path(sys.executable).with_name("prefect")
    try:
        submit = subprocess.run(
            ["sinagot-catalog", "submit", "harbour"],
            env=environment,
            capture_output=True,
            timeout=300,
            check=False,
        )
        assert submit.returncode == 3, submit.stderr
        message = chat[1].get(timeout=300)
    finally:
        for name in ("a night failed", "a night did not happen"):
            words = [prefect, "automation", "delete", name]
            subprocess.run(words, env=environment, capture_output=True, timeout=300, check=False)
    assert "3 of 3 rows failed" in message
    assert prefect_server.url in message


@pytest.mark.usefixtures("prefect_server")
def test_the_ways_to_slurm_lead_there(checkout: Path, slurm: Slurm) -> None:
    environment = environment_of(**slurm.environment)
    found = blocks(GUIDE / "slurm.md")
    for name in ("harbour", "bay", "cove"):
        run_console([f"$ sinagot-catalog init {name} --example\nmade ...\n"], checkout, environment)
    with (checkout / "bay" / "workspace.toml").open("a") as config:
        config.write(next(text for kind, text in found if kind == "toml"))
    programs = {"sh": "bash", "python": sys.executable}
    for kind, text in found:
        if kind not in programs:
            continue
        run_program(text, checkout, environment, programs[kind])
        slurm.end()
    for name in ("harbour", "bay", "cove"):
        assert len(Workspace(checkout / name).steps.filter(status="DONE")) == 90, name


@pytest.mark.filterwarnings("ignore")  # of moto's own server
def test_the_bucket_page_can_be_followed(checkout: Path, bucket: dict[str, str]) -> None:
    follow(GUIDE / "buckets.md", checkout, environment_of(**bucket))


@pytest.mark.slow
def test_the_recipes_can_be_followed(checkout: Path) -> None:
    programs = checkout / "programs"
    programs.mkdir()
    for name in ("Rscript", "matlab"):
        (programs / name).write_text(STAND_IN)
        (programs / name).chmod(0o755)
    environment = environment_of()
    environment["PATH"] = f"{programs}:{environment['PATH']}"
    follow(GUIDE / "recipes.md", checkout, environment)
    scripts = [text for kind, text in blocks(GUIDE / "recipes.md") if kind == "python"]
    for script, said in zip(scripts, ["<RunReport | nothing to do>\n", ""], strict=True):
        done = subprocess.run(
            [sys.executable, "-c", script],
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, said)


def test_links_to_files_lead_somewhere() -> None:
    pages = [ROOT / "README.md", *(ROOT / "example").rglob("*.md")]
    for page in pages:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            assert target.startswith("http") or (page.parent / target).exists(), f"{page}: {target}"


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_bytes()) <= 14_000
