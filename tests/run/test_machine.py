"""The default number of workers: the CPUs that affinity, cgroups and Slurm leave."""

import os
import subprocess
import sys

import pytest

from sinagot_catalog.run.machine import cpu_quotas, cpus

RUN = "from sinagot_catalog.run import cpus; print(cpus())"


def seen(command: str = RUN, **environment: str) -> int:
    """The CPUs that a new process sees that may use one CPU."""
    one = min(os.sched_getaffinity(0))
    setup = f"import os; os.sched_setaffinity(0, {{{one}}}); " if command != RUN else ""
    done = subprocess.run(
        [sys.executable, "-c", setup + RUN], env={**os.environ, **environment}, text=True, capture_output=True,
        timeout=300, check=True,
    )  # fmt: skip
    return int(done.stdout)


def test_affinity_limits_the_workers():
    assert seen("one CPU") == 1


def test_a_job_of_slurm_limits_the_workers_and_never_raises_them():
    every = len(os.sched_getaffinity(0))
    assert seen(SLURM_CPUS_PER_TASK="1", SLURM_CPUS_ON_NODE="64") == 1
    assert cpus({"SLURM_CPUS_ON_NODE": "1"}) == 1
    assert cpus({"SLURM_CPUS_ON_NODE": "64"}) <= every
    assert cpus({"SLURM_CPUS_PER_TASK": "none"}) == cpus({})
    assert cpus({"SLURM_CPUS_PER_TASK": "0"}) == 1


@pytest.mark.parametrize(
    ("files", "own", "found"),
    [
        ({"a/b/cpu.max": "max 100000", "a/cpu.max": "150000 100000"}, "0::/a/b\n", [1.5]),
        ({"a/b/cpu.max": "50000 100000", "a/cpu.max": "200000 100000"}, "0::/a/b\n", [0.5, 2.0]),
        (
            {"cpu,cpuacct/a/cpu.cfs_quota_us": "400000\n", "cpu,cpuacct/a/cpu.cfs_period_us": "100000\n"},
            "4:cpu,cpuacct:/a\n3:cpuset:/\n",
            [4.0],
        ),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, "1:cpu:/\n", []),
        ({"cpu.max": "nonsense"}, "0::/\n", []),
        ({}, "", []),
    ],
)
def test_quotas_of_all_groups_around_a_process_count(tmp_path, files, own, found):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert list(cpu_quotas(tmp_path, own)) == found
