"""Help, errors and exit codes of `sinagot-catalog`."""

import subprocess
import sys

import pytest

from sinagot_catalog import __version__

VERBS = (
    *(
        "init",
        "status",
        "ls",
        "plan",
        "run",
        "submit",
        "sbatch",
        "watch",
        "exclude",
        "include",
        "accept",
        "logs",
    ),
    *(
        "snapshot",
        "diff",
        "explain",
        "report",
        "ui",
        "doctor",
        "gc",
        "server",
        "deploy",
        "serve",
        "completion",
    ),
)


def test_version_and_help_need_no_frame(cli):
    done = cli("--version", PYTHONPROFILEIMPORTTIME="1")
    assert done.stdout == f"sinagot-catalog {__version__}\n"
    assert "polars" not in done.stderr
    shown = cli("--help").stdout
    assert all(f"\n    {verb} " in shown for verb in VERBS)
    assert "130 interrupted" in shown


@pytest.mark.parametrize("verb", VERBS)
def test_the_help_of_each_verb_shows_an_example(cli, verb):
    done = cli(verb, "--help")
    assert done.returncode == 0
    assert f"  sinagot-catalog {verb}" in done.stdout.partition("examples:")[2]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["statsu"],
            f"'statsu' is not one of {', '.join(VERBS)}; did you mean 'status'?",
        ),
        (["status", "--wehre", "x"], "unknown argument '--wehre'; did you mean '--where'"),
        (["ls", "recrods"], "did you mean 'records'?"),
        (["run", "--limit", "-1"], "'-1' is not a number of rows"),
        (["run", "--json", "--csv"], "not allowed with argument --json"),
        (["status"], "there is no workspace.toml in "),
        (["status", "nowhere"], "there is no file or folder "),
        (["run", "a", "-C", "b"], "two workspaces are named: a and b"),
    ],
)
def test_words_that_are_no_command_end_2_with_one_sentence(cli, words, said):
    done = cli(*words)
    assert done.returncode == 2
    assert done.stdout == ""
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) <= 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--where", "status = 'EROR'"], "status is never 'EROR'; did you mean 'ERROR'?"),
        (["--where", "statsu = 'ERROR'"], "steps has no column 'statsu'; did you mean 'status'"),
        (["--where", "status ="], "the filter 'status =' cannot be read"),
        (["--step", "cuont"], "there is no step 'cuont'; did you mean 'count'?"),
        (["--status", "EROR"], "'EROR' is not a status; did you mean 'ERROR'?"),
        (["--record", "REC-1"], "'REC-1' does not fit id_pattern"),
        (["--rows", "no.csv"], "there is no file no.csv"),
        (["--rows", "rows.txt"], "is not a table of a known kind"),
    ],
)
def test_a_wrong_selection_ends_2_and_runs_nothing(cli, harbor_folder, words, said):
    done = cli("run", harbor_folder, *words)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not (harbor_folder / "dataset" / "LOG").exists()


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ("[steps]\nscripts = ['a']\n", "id_pattern"),
        ("[records]\nid_pattern = '('\n", "id_pattern"),
        ("[records\n", "workspace.toml"),
        ("[records]\nid_pattern = 'R'\n[rnu]\nmode = 'x'\n", "did you mean"),
        ("[records]\nid_pattern = 'R'\n[run]\nmode = 'main_proces'\n", "did you mean 'main_process'?"),
        ("[records]\nid_pattern = 'R'\n[path]\ndataset = 'nowhere'\n", "nowhere"),
    ],
)
def test_a_fault_of_the_config_ends_2_with_its_address(cli, tmp_path, toml, said):
    (tmp_path / "workspace.toml").write_text(toml)
    done = cli("run")
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_further_config_is_merged_over_the_first(cli, harbor_folder, tmp_path):
    (tmp_path / "less.toml").write_text("[steps]\nscripts = ['mean']\n")
    done = cli("status", harbor_folder, "--config", tmp_path / "less.toml")
    assert "3 can run now: 3 mean" in done.stdout
    assert f"run {harbor_folder} --config {tmp_path / 'less.toml'}" in done.stdout


def test_a_fault_of_ours_is_one_sentence_and_the_traceback_is_kept_for_who_asks(cli, harbor_folder, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "import sinagot_catalog.cli.verbs.status as status\n"
        "def broken(*_):\n    raise KeyError('boat')\n"
        "status.StatusCounts = broken\n"
    )
    done = cli("status", harbor_folder, PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr == (
        "error: KeyError: 'boat'. This is a fault of sinagot-catalog; run again with SINAGOT_CATALOG_DEBUG=1 "
        "for the traceback.\n"
    )
    for more, environment in ([["--debug"], {}], [[], {"SINAGOT_CATALOG_DEBUG": "1"}]):
        shown = cli("status", harbor_folder, *more, PYTHONPATH=str(tmp_path), **environment)
        assert "Traceback (most recent call last):" in shown.stderr


def test_it_can_be_called_as_a_module():
    words = [sys.executable, "-m", "sinagot_catalog", "--version"]
    assert subprocess.run(words, capture_output=True, text=True, check=True).stdout.startswith(
        "sinagot-catalog "
    )


def test_no_word_at_all_shows_how_to_begin(cli):
    done = cli()
    assert (done.returncode, done.stdout) == (2, "")
    assert "sinagot-catalog init harbor --example" in done.stderr
    assert "  status " in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
def test_an_interrupt_in_the_midst_of_polars_is_no_panic(harbor_folder, number):
    """Polars calls this constructor of its own from Rust, and panics where an exception comes out of it."""
    code = f"""
import signal, sys
import polars
from sinagot_catalog.cli import call
def trace(frame, event, arg):
    called_by = frame.f_back.f_code.co_name if frame.f_back else ""
    if frame.f_code is polars.Enum.__init__.__code__ and called_by in ("schema", "dtypes"):
        sys.settrace(None)
        print("sent")
        signal.raise_signal(signal.{number})
    return trace
sys.settrace(trace)
sys.exit(call(["watch", {str(harbor_folder)!r}, "--run", "--every", "1h"]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.stdout.startswith("sent\n")
    assert "panic" not in done.stderr
    assert done.returncode == (130 if "interrupted; what is done is kept" in done.stderr else 0)
