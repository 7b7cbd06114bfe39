"""`sinagot-catalog completion`: each shell asks it for what a word can be."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sinagot_catalog.cli.verbs.completion import offered

pytestmark = pytest.mark.slow
BESIDE = Path(sys.executable).parent


@pytest.fixture
def in_bash(cli, write_workspace):
    """What bash would offer for the last of these words, asked in a workspace."""
    script = cli("completion", "bash").stdout
    steps = {"clean": ("raw/{id}.csv", "out/{id}.csv"), "peak": ("out/{id}.csv", "peak/{id}.csv")}
    folder = write_workspace(
        steps, ["raw/R1.csv", "raw/R2.csv", "raw/X 3.csv", "raw/bad.txt"], id_pattern=r"[A-Z] ?\d"
    )

    def ask(*words, cwd=folder):
        typed = " ".join(f"'{word}'" for word in ("sinagot-catalog", *words))
        program = f"""{script}
COMP_WORDS=({typed}); COMP_CWORD={len(words)}
_sinagot_catalog
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
        done = subprocess.run(
            ["bash", "-c", program],
            cwd=cwd,
            env={**os.environ, "PATH": f"{BESIDE}{os.pathsep}{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            timeout=300,
            check=True,
        )
        assert done.stderr == ""
        return done.stdout.splitlines()

    return ask


def test_bash_offers_verbs_options_and_names_of_the_workspace(in_bash, tmp_path):
    assert in_bash("st") == ["status"]
    assert in_bash("status", "--st") == ["--step", "--stale"]
    assert in_bash("-C", "here", "logs", "--fo") == ["--follow"]
    assert in_bash("ls", "ev") == ["events"]
    assert in_bash("explain", "") == ["R1", "R2", r"X\ 3"]
    assert in_bash("explain", "R1", "") == ["clean", "peak"]
    assert in_bash("run", "--status", "err") == ["error"]
    assert in_bash("run", "--step", "p") == ["peak"]
    # nothing to offer: no value of ours, a file's name, no workspace, a workspace that cannot be read
    assert in_bash("run", "--limit", "") == [""]
    assert in_bash("run", "--rows", "") == [""]
    assert in_bash("explain", "", cwd=tmp_path.parent) == [""]
    (tmp_path / "workspace.toml").write_text("[[[")
    assert in_bash("explain", "", cwd=tmp_path) == [""]


@pytest.mark.skipif(shutil.which("fish") is None, reason="there is no fish here")
def test_fish_offers_the_same(cli, write_workspace):
    folder = write_workspace({"clean": ("raw/{id}.csv", "out/{id}.csv")}, ["raw/R1.csv"])
    program = f"{cli('completion', 'fish').stdout}\ncomplete -C 'sinagot-catalog explain R1 cl'"
    done = subprocess.run(
        ["fish", "--no-config", "-c", program],
        cwd=folder,
        env={**os.environ, "PATH": f"{BESIDE}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    assert "clean" in done.stdout.split()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_a_script_that_it_can_read(cli, shell):
    done = cli("completion", shell)
    assert done.returncode == 0
    assert f"completion {shell} " in done.stdout
    program = shutil.which(shell)
    if program is not None:
        checked = subprocess.run(
            [program, "-n"], input=done.stdout, capture_output=True, text=True, timeout=300, check=False
        )
        assert (checked.returncode, checked.stderr) == (0, "")


def test_what_is_offered_has_its_help_as_the_shell_reads_it(cli):
    assert cli("completion", "fish", "sinagot-catalog", "expl").stdout.startswith("explain\twhy a step")
    assert cli("completion", "zsh", "sinagot-catalog", "expl").stdout.startswith("explain:why a step")
    assert "handle-fd" not in cli("completion", "zsh", "sinagot-catalog", "submit", "--").stdout


def test_tasks_and_modalities_are_offered_where_there_are_some(lab_folder):
    place = str(lab_folder())
    assert [word for word, _ in offered(["-C", place, "explain", "R1", "clean", "--task", ""])] == [
        "RS",
        "HDC",
    ]
    assert [word for word, _ in offered(["explain", "-C", place, "R1", "clean", "--modality", "E"])] == [
        "EEG"
    ]


def test_of_very_many_ids_only_how_they_go_on_is_offered(write_workspace):
    files = [f"raw/R{n}/eeg.csv" for n in range(1000, 2000)]
    place = str(write_workspace({"clean": ("raw/{id}/eeg.csv", "out/{id}.csv")}, files))
    assert [word for word, _ in offered(["run", place, "--record", ""])] == [f"R1{n}" for n in range(10)]
    assert [word for word, _ in offered(["run", place, "--record", "R199"])] == [
        f"R199{n}" for n in range(10)
    ]


def test_a_word_is_completed_without_frames(write_workspace):
    place = write_workspace({"clean": ("raw/{id}.csv", "out/{id}.csv")}, ["raw/R1.csv"])
    program = (
        "import sys; from sinagot_catalog.cli import call; "
        f"call(['completion', 'bash', 'x', 'run', {str(place)!r}, '--record', '']); "
        "print(sorted({'polars', 'pyarrow', 'rich', 'prefect', 'fsspec'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=300, check=True
    )
    assert done.stdout == "R1\n[]\n"
