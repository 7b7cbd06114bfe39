"""`sinagot-catalog sbatch`: a run in parts on a real Slurm of one node, and the script that it prints."""

import json
import subprocess

import pytest

from sinagot_catalog import Workspace
from tests.servers import wait

CHAIN = {"clean": ("raw/{id}", "clean/{id}"), "peak": ("clean/{id}", "peak/{id}")}
GROUPS = {"clean": ("raw/{id}", "clean/{id}"), "site": ("clean/{id}", "site/{site}")}
SITES = '\n[records]\nid_pattern = "(?P<site>[a-z]+)-\\\\d+"\n'
RAW = [f"raw/{site}-{n}" for site in ("lyon", "nice") for n in range(6)]


def test_an_array_runs_the_parts_and_a_dependent_job_runs_the_rest(cli, write_workspace, slurm, tmp_path):
    folder = write_workspace(GROUPS, RAW, toml=SITES)
    words = (
        "sbatch",
        folder,
        "--parts",
        "3",
        "--array-limit",
        "2",
        "--json",
        "--",
        "--hold",  # a dependency is shown until it is fulfilled
        "-o",
        tmp_path / "%A_%a.out",
    )
    done = cli(*words, **slurm.environment)
    assert (done.returncode, done.stderr) == (0, "")
    jobs = json.loads(done.stdout)
    assert jobs["array"]
    assert jobs["last"]
    shown = slurm.ask("scontrol", "show", "job", jobs["last"])
    assert f"afterany:{jobs['array']}" in shown
    assert "ArrayTaskThrottle=2" in slurm.ask("scontrol", "show", "job", jobs["array"])
    slurm.ask("scontrol", "release", *jobs.values())
    slurm.end()
    said = "".join(path.read_text() for path in sorted(tmp_path.glob("*.out")))
    assert Workspace(folder).steps.plan().n_run == 0, said
    assert "JobState=COMPLETED" in slurm.ask("scontrol", "show", "job", jobs["last"]), said
    assert len(list(tmp_path.glob(f"{jobs['array']}_*.out"))) == 3
    again = cli(*words, **slurm.environment)
    assert json.loads(again.stdout) == {"array": None, "last": None}


def test_rows_that_fail_do_not_hold_up_the_last_job_and_their_job_ends_3(
    cli, write_workspace, slurm, tmp_path
):
    scripts = {"bad": ("raw/{id}", "bad/{id}", "fail"), **GROUPS}
    folder = write_workspace(scripts, RAW[:4], toml=SITES)
    done = cli(
        "sbatch",
        folder,
        "--parts",
        "1",
        "--json",
        "--",
        f"--output={tmp_path}/%A_%a.out",
        **slurm.environment,
    )
    jobs = json.loads(done.stdout)
    slurm.end()
    assert "ExitCode=3:0" in slurm.ask("scontrol", "show", "job", jobs["array"])
    steps = Workspace(folder).steps
    assert (len(steps.filter(status="ERROR")), len(steps.filter(status="DONE"))) == (4, 8)


def test_only_without_an_option_that_moves_it_the_file_of_a_job_is_named(
    cli, write_workspace, slurm, tmp_path
):
    words = ("sbatch", write_workspace(CHAIN, RAW[:1], toml=SITES), "--parts", "1", "--", "--hold")
    said = [
        cli(*words, *more, cwd=tmp_path, **slurm.environment).stderr.strip()
        for more in ((), ("-o", "a.txt"), (f"--chdir={tmp_path}",))
    ]
    slurm.ask("scancel", "--user=root")
    slurm.end()
    assert said == [
        "squeue shows them; what they write goes to slurm-JOB.out in this folder",
        *("squeue shows them",) * 2,
    ]


def test_the_printed_script_is_taken_by_sbatch(cli, write_workspace, slurm, tmp_path):
    folder = write_workspace(CHAIN, RAW, toml=SITES)
    made = cli(
        "sbatch", folder, "--parts", "2", "--print", "--where", "record_id < 'nice-3'", "--step", "clean", "--",
        "-o", tmp_path / "a file.out", "--mem", "100M",
    )  # fmt: skip
    assert made.returncode == 0
    assert made.stdout.startswith("#!/bin/sh\n#SBATCH --job-name=")
    assert "#SBATCH --array=1-2\n" in made.stdout
    assert f"#SBATCH -o '{tmp_path / 'a file.out'}'\n#SBATCH --mem 100M\n" in made.stdout
    script = tmp_path / "parts.sh"
    script.write_text(made.stdout)
    slurm.ask("sbatch", script)
    slurm.end()
    steps = Workspace(folder).steps
    assert (len(steps.filter(status="DONE")), len(steps.filter(status="DONE", step="clean"))) == (9, 9)


def test_without_an_array_the_printed_script_runs_what_belongs_to_no_part(cli, write_workspace):
    folder = write_workspace(GROUPS, RAW, toml=SITES)
    made = cli("sbatch", folder, "--parts", "2", "--print").stdout
    for task in ("1", "2", None):
        environment = {"SLURM_ARRAY_TASK_ID": task} if task else {}
        done = subprocess.run(
            ["sh"], input=made, env={"PATH": "/usr/bin:/bin", **environment}, text=True, capture_output=True,
            timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        steps = {path.parent.name for path in folder.rglob("site/*")}
        assert bool(steps) == (task is None)
    assert Workspace(folder).steps.plan().n_run == 0


def test_what_sbatch_refuses_is_told_in_one_sentence(cli, write_workspace, slurm):
    folder = write_workspace(CHAIN, RAW, toml=SITES)
    done = cli("sbatch", folder, "--parts", "2", "--", "--partition=none", **slurm.environment)
    assert done.returncode == 1
    assert done.stderr.startswith("error: sbatch refused the array: invalid partition specified: none")
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") == 1
    done = cli("sbatch", folder, "--parts", "5000", **slurm.environment)
    assert (done.returncode, "Give fewer --parts" in done.stderr) == (1, True), done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--parts", "0"], "error: --parts: '0' is not a whole number from 1 up\n"),
        ([], "error: --parts is missing\n"),
        (
            ["--parts", "2", "--array-limit", "x"],
            "error: --array-limit: 'x' is not a whole number from 1 up\n",
        ),
        (["--parts", "2", "--", "--array=1-9"], "error: the option '--array=1-9' of sbatch cannot be given"),
        (["--parts", "2", "--", "-a1-9"], "error: the option '-a1-9' of sbatch cannot be given"),
        (["--parts", "2", "--", "8G"], "error: '8G' is not an option of sbatch\n"),
        (["--parts", "2", "--rows", "-"], "error: --rows: the jobs cannot read stdin\n"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_submitted(cli, write_workspace, words, said):
    folder = write_workspace(CHAIN, ["raw/R1"])
    done = cli("sbatch", folder, *words)
    assert done.returncode == 2
    assert done.stderr.startswith(said)


def test_without_slurm_the_message_names_print(cli, write_workspace, tmp_path):
    folder = write_workspace(CHAIN, ["raw/R1"])
    done = cli("sbatch", folder, "--parts", "2", PATH=str(tmp_path))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "error: there is no program sbatch on this machine\n"
        "Run this on a machine that submits to Slurm, or write the script with --print.\n"
    )


def test_nothing_is_submitted_when_no_row_can_run(cli, write_workspace):
    folder = write_workspace(CHAIN, ["sum/R1"])
    done = cli("sbatch", folder, "--parts", "2")
    assert (done.returncode, done.stdout) == (0, "nothing to do: no row can run\n")
    assert "holds no file of a record" in done.stderr


WAITS = """
import time, pathlib
self.path.output.write_text("half")
while self.id[-1] > "2" and not pathlib.Path("GO").exists():
    time.sleep(0.05)
self.path.output.write_text("whole")
"""


@pytest.mark.parametrize("end", ["scancel", "a lost node"])
def test_an_array_that_ends_early_leaves_nothing_half_done_and_the_next_one_does_the_rest(
    cli, write_workspace, slurm, tmp_path, end
):
    waits = (*GROUPS["clean"], WAITS.replace("GO", str(tmp_path / "go")))
    folder = write_workspace({**GROUPS, "clean": waits}, RAW, toml=SITES)
    options = ("--no-requeue", f"--output={tmp_path}/%A_%a.out")
    words = ("sbatch", folder, "--parts", "2", "--json", "--", *options)
    jobs = json.loads(cli(*words, **slurm.environment).stdout)
    # Both parts come to a row that waits.
    wait(lambda: [path.read_text() for path in folder.rglob("LOG/.staging/**/*-[3-5]")] == ["half"] * 2)
    if end == "scancel":
        slurm.ask("scancel", *jobs.values())
    else:
        slurm.lose_node()
    slurm.end()
    steps = Workspace(folder).steps
    done = len(steps.filter(step="clean", status="DONE"))
    assert 0 < done < 12
    assert not steps.filter(step="clean", status="PROCESSING").collect().height
    assert len(list(folder.glob("dataset/clean/*"))) == done

    (tmp_path / "go").touch()
    cli(*words, **slurm.environment)
    slurm.end()
    ws = Workspace(folder)
    assert len(ws.steps.filter(status="DONE")) == len(ws.steps) == 24
    assert {path.read_text() for path in folder.glob("dataset/clean/*")} == {"whole"}
    assert not [path for path in folder.rglob("LOG/.staging/**/*") if path.is_file()]
    ends = ws.events().filter(step="clean", event="done").group_by("record_id").len()
    assert (ends.height, ends["len"].max()) == (12, 1)


def with_resources(folder, **needs):
    """Give steps resources in the config."""
    lines = [f"[steps.{step}]\nresources = {text}\n" for step, text in needs.items()]
    toml = folder / "workspace.toml"
    toml.write_text(toml.read_text() + "".join(lines))
    return folder


def directives(cli, folder, *words):
    """The `#SBATCH` lines about resources."""
    script = cli("sbatch", folder, "--parts", "2", "--print", *words).stdout
    ours = ("--cpus-per-task", "--mem", "--gres", "--time")
    return [word for line in script.splitlines() if (word := line.removeprefix("#SBATCH ")).startswith(ours)]


def test_jobs_ask_slurm_for_what_their_rows_need(cli, write_workspace, slurm, tmp_path):
    clean, site = '{cpus = 2, memory = "50MiB", time = "1m"}', '{memory = "60MiB", time = "90s"}'
    folder = with_resources(write_workspace(GROUPS, RAW, toml=SITES), clean=clean, site=site)
    done = cli(
        "sbatch", folder, "--parts", "1", "--json", "--", f"--output={tmp_path}/%A.out", **slurm.environment
    )
    assert (done.returncode, done.stderr) == (0, "")
    jobs = json.loads(done.stdout)
    for job in jobs.values():
        shown = slurm.ask("scontrol", "show", "job", job)
        assert "CPUs/Task=2" in shown
        assert "MinMemoryNode=60M" in shown
        assert "TimeLimit=00:12:00" in shown  # 12 rows of `clean`, each of which needs all CPUs of the job
    slurm.end()
    assert Workspace(folder).steps.plan().n_run == 0


def test_options_of_the_user_have_precedence_over_resources(cli, write_workspace):
    clean, peak = '{cpus = 4, memory = "8GB", gpus = 2, time = "2h"}', '{memory = "1GiB", time = "30m"}'
    folder = with_resources(write_workspace(CHAIN, RAW, toml=SITES), clean=clean, peak=peak)
    plan = Workspace(folder).steps.plan(part=(1, 2))
    most = max(plan.n_run, 24 - plan.n_run) // 2
    asked = ["--cpus-per-task=4", "--mem=7630M", "--gres=gpu:2"]
    minutes = 120 * most + 30 * -(-most // 4)
    assert directives(cli, folder) == [*asked, f"--time={minutes // 60}:{minutes % 60:02}:00"]
    assert directives(cli, folder, "--status", "DONE") == []
    given = ["--", "-c8", "--mem", "64G", "--gpus=4", "-t", "5:00"]
    assert directives(cli, folder, *given) == ["--mem 64G"]
    wide = ["--", "--cpus-per-task=8", "--mem=16G", "--gres=gpu:4"]
    minutes = 120 * -(-most // 2) + 30 * -(-most // 8)
    assert directives(cli, folder, *wide) == [f"--time={minutes // 60}:{minutes % 60:02}:00", *wide[1:]]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-c", "2"], "error: step clean needs 4 cpus, and a job with these options of sbatch has 2\n"),
        (
            ["--mem=4G"],
            "error: step clean needs 8.0 GB of memory, and a job with these options of sbatch has 4.3 GB\n",
        ),
        (
            ["-c4", "--mem-per-cpu=1000"],
            "error: step clean needs 8.0 GB of memory, and a job with these options",
        ),
    ],
)
def test_a_job_that_is_too_small_for_a_row_is_not_submitted(cli, write_workspace, words, said):
    folder = with_resources(write_workspace(CHAIN, RAW, toml=SITES), clean='{cpus = 4, memory = "8GB"}')
    done = cli("sbatch", folder, "--parts", "2", "--", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(said)
    assert cli("sbatch", folder, "--parts", "2", "--print", "--", "-c", "5", "--mem=0").returncode == 0
