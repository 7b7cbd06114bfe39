"""A disk that answers slowly: a read-only view of a folder through FUSE, a millisecond for each question."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks._measure import Skipped

__all__ = ["FORGOTTEN_SECONDS", "MICROSECONDS", "network_disk"]

MICROSECONDS = 1_000
FORGOTTEN_SECONDS = 1.1
_SOURCE = Path(__file__).with_name("_delayed.c")
_MOUNT_SECONDS = 20.0


@contextmanager
def network_disk(workspace: Path) -> Iterator[Path]:
    """Give a copy of a workspace whose dataset lies on a disk that answers slowly.

    The kernel keeps an answer for a second, as it does of NFS.

    Raises:
        Skipped: This machine cannot mount one, and why.
    """
    place = workspace.with_name(f"network-{workspace.name}")
    for name in ("scripts", "workspace.toml"):
        copy = shutil.copytree if (workspace / name).is_dir() else shutil.copyfile
        place.mkdir(exist_ok=True)
        if not (place / name).exists():
            copy(workspace / name, place / name)
    mount = place / "dataset"
    mount.mkdir(exist_ok=True)
    command = [_built(workspace.parent), workspace / "dataset", MICROSECONDS, mount, "-f", "-o", "ro"]
    process = subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, text=True)
    try:
        end = time.monotonic() + _MOUNT_SECONDS
        while not os.path.ismount(mount):
            if process.poll() is not None or time.monotonic() > end:
                process.kill()
                raise Skipped(f"FUSE does not mount here: {process.communicate()[1].strip()[-200:]}")
            time.sleep(0.05)
        yield place
    finally:
        process.terminate()
        process.wait()


def _built(cache: Path) -> Path:
    """The program, compiled where that was not done yet."""
    program = cache / "delayed"
    if program.exists() and program.stat().st_mtime > _SOURCE.stat().st_mtime:
        return program
    if shutil.which("gcc") is None or shutil.which("pkg-config") is None:
        raise Skipped(
            "a network disk needs gcc and pkg-config (Debian: apt install gcc pkg-config libfuse3-dev)"
        )
    flags = subprocess.run(
        ["pkg-config", "--cflags", "--libs", "fuse3"], capture_output=True, text=True, check=False
    )
    if flags.returncode:
        raise Skipped("a network disk needs the headers of FUSE (Debian: apt install libfuse3-dev fuse3)")
    build = ["gcc", "-O2", "-o", str(program), str(_SOURCE), *flags.stdout.split()]
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Skipped(f"a network disk could not be compiled: {done.stderr.strip()[-200:]}")
    return program
