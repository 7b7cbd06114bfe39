"""The machine of a run: the CPUs, memory and GPUs that affinity, cgroups and Slurm leave to this process."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cache
from math import ceil
from pathlib import Path
from shutil import which
from typing import NamedTuple

_SLURM = ("SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE")
"""The variables of a Slurm job with its CPUs on this machine; the first one that is set counts."""

_CGROUPS = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")
_DRIVER = Path("/proc/driver/nvidia/gpus")
_VISIBLE = "CUDA_VISIBLE_DEVICES"
_SECONDS = 10.0
_MIB = 2**20


class Machine(NamedTuple):
    """What this process may use of its machine.

    Attributes:
        cpus: The number of CPUs.
        memory: Bytes; 0 if the system does not tell.
        gpus: The names of the GPUs, as `CUDA_VISIBLE_DEVICES` has them.
    """

    cpus: int
    memory: int
    gpus: tuple[str, ...]


def this_machine() -> Machine:
    """Return what this process may use of its machine."""
    return Machine(cpus(), _memory(os.environ), gpus())


def cpus(environment: Mapping[str, str] = os.environ) -> int:
    """Return how many CPUs this process may use, at least 1.

    Args:
        environment: The environment variables; those of Slurm count.

    Example:
        >>> cpus({"SLURM_CPUS_PER_TASK": "1"})
        1
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    of_slurm = [number for name in _SLURM if (number := _number(environment, name)) is not None][:1]
    return max(1, min([affinity, *of_slurm, *map(ceil, cpu_quotas(_CGROUPS, _own_groups()))]))


def _number(environment: Mapping[str, str], name: str) -> int | None:
    text = environment.get(name, "")
    return int(text) if text.isdecimal() else None


def _own_groups() -> str:
    with suppress(OSError):
        return _OWN.read_text(encoding="utf-8")
    return ""


def cpu_quotas(root: Path, own: str) -> Iterator[float]:
    """Yield the CPU quotas of a process: those of its cgroups and of all groups around them.

    Args:
        root: The folder where cgroups are mounted.
        own: The text of `/proc/self/cgroup`: lines of `number:controllers:path`.
    """
    for folder, is_v2 in _groups(root, own, "cpu"):
        with suppress(OSError, ValueError):
            if is_v2:
                quota, period = (folder / "cpu.max").read_text(encoding="utf-8").split()
            else:
                quota, period = (
                    (folder / f"cpu.cfs_{name}_us").read_text(encoding="utf-8").strip()
                    for name in ("quota", "period")
                )
            if quota not in ("max", "-1"):
                yield int(quota) / int(period)


def memory_limits(root: Path, own: str) -> Iterator[int]:
    """Yield the memory limits of a process in bytes: those of its cgroups and of all groups around them.

    Args:
        root: The folder where cgroups are mounted.
        own: The text of `/proc/self/cgroup`.
    """
    for folder, is_v2 in _groups(root, own, "memory"):
        with suppress(OSError, ValueError):
            name = "memory.max" if is_v2 else "memory.limit_in_bytes"
            yield int((folder / name).read_text(encoding="utf-8"))


def _groups(root: Path, own: str, controller: str) -> Iterator[tuple[Path, bool]]:
    """The folders of the groups of a process that may limit a controller, and whether they are of cgroup v2."""
    for line in own.splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        for group in (folder := Path(path.strip("/")), *folder.parents):
            if not controllers:
                yield root / group, True
            elif controller in controllers.split(","):
                yield root / controllers / group, False


def _memory(environment: Mapping[str, str]) -> int:
    """The bytes of memory that this process may use; 0 if the system does not tell."""
    sizes = list(memory_limits(_CGROUPS, _own_groups()))
    with suppress(OSError, ValueError):
        sizes.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    per_node, per_cpu = (_number(environment, f"SLURM_MEM_PER_{unit}") for unit in ("NODE", "CPU"))
    if per_node:  # 0 is all memory of the node
        sizes.append(per_node * _MIB)
    elif per_cpu:
        sizes.append(per_cpu * _MIB * cpus(environment))
    return min((size for size in sizes if size > 0), default=0)


def gpus(environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """Return the GPUs that this process may use: those of `CUDA_VISIBLE_DEVICES`, else those of the driver.

    Example:
        >>> gpus({"CUDA_VISIBLE_DEVICES": "3,5"}), gpus({"CUDA_VISIBLE_DEVICES": "2,-1,4"})
        (('3', '5'), ('2',))
    """
    visible = environment.get(_VISIBLE)
    if visible is None:
        return tuple(_listed_by_driver())
    names: list[str] = []
    for name in map(str.strip, visible.split(",")):
        if not name or name.startswith("-") or name == "NoDevFiles":  # CUDA ignores what comes after it
            break
        names.append(name)
    return tuple(dict.fromkeys(names))


@cache
def _listed_by_driver() -> list[str]:
    """The GPUs that the driver of NVIDIA lists: their numbers, and the identifiers of their MIG slices."""
    program = which("nvidia-smi")
    if program is not None:
        with suppress(OSError, subprocess.SubprocessError):
            done = subprocess.run(  # noqa: S603 - the program of the driver, without words of the user
                [program, "-L"], capture_output=True, text=True, timeout=_SECONDS, check=True
            )
            return _names(done.stdout)
    with suppress(OSError):
        return [str(number) for number, _ in enumerate(_DRIVER.iterdir())]
    return []


def _names(listing: str) -> list[str]:
    r"""The names of the GPUs in a listing of `nvidia-smi -L`.

    Example:
        >>> _names("GPU 0: A100 (UUID: GPU-1)\n  MIG 1g.5gb Device 0: (UUID: MIG-7)\nGPU 1: A100\n")
        ['MIG-7', '1']
    """
    names: list[str] = []
    for line in listing.splitlines():
        if whole := re.match(r"GPU (\d+):", line):
            names.append(whole[1])
        elif slice_ := re.search(r"UUID: (MIG-[^)]+)\)", line):
            if names and names[-1].isdecimal():  # a GPU that is divided cannot be used as a whole
                names.pop()
            names.append(slice_[1])
    return names
