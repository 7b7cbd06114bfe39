"""The machine of a run: the number of CPUs that affinity, cgroups and Slurm leave to this process."""

from __future__ import annotations

import os
from contextlib import suppress
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["cpu_quotas", "cpus"]

_SLURM = ("SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE")
"""The variables of a Slurm job with its CPUs on this machine; the first one that is set counts."""

_CGROUPS = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")


def cpus(environment: Mapping[str, str] = os.environ) -> int:
    """Return how many CPUs this process may use, at least 1.

    Args:
        environment: The environment variables; those of Slurm count.

    Example:
        >>> cpus({"SLURM_CPUS_PER_TASK": "1"})
        1
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    of_slurm = [int(environment[name]) for name in _SLURM if environment.get(name, "").isdecimal()][:1]
    own = ""
    with suppress(OSError):
        own = _OWN.read_text(encoding="utf-8")
    return max(1, min([affinity, *of_slurm, *map(ceil, cpu_quotas(_CGROUPS, own))]))


def cpu_quotas(root: Path, own: str) -> Iterator[float]:
    """Yield the CPU quotas of a process: those of its cgroups and of all groups around them.

    Args:
        root: The folder where cgroups are mounted.
        own: The text of `/proc/self/cgroup`: lines of `number:controllers:path`.
    """
    for line in own.splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        for group in (folder := Path(path.strip("/")), *folder.parents):
            with suppress(OSError, ValueError):
                if not controllers:
                    quota, period = (root / group / "cpu.max").read_text(encoding="utf-8").split()
                elif "cpu" in controllers.split(","):
                    folder_of = root / controllers / group
                    quota, period = (
                        (folder_of / f"cpu.cfs_{name}_us").read_text(encoding="utf-8").strip()
                        for name in ("quota", "period")
                    )
                else:
                    continue
                if quota not in ("max", "-1"):
                    yield int(quota) / int(period)
