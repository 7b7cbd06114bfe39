"""A MariaDB server of the benchmark's own: a folder of its own, a free port, and an end by its id."""

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks._measure import Skipped

__all__ = ["database"]

_START_SECONDS = 120.0


@contextmanager
def database(cache: Path) -> Iterator[dict[str, str]]:
    """Start a server, and give the variables by which DataJoint finds it; stop it and delete its data at the end.

    Raises:
        Skipped: There is no MariaDB on this machine, or it does not start.
    """
    server, install = (shutil.which(name) for name in ("mariadbd", "mariadb-install-db"))
    if server is None or install is None:
        raise Skipped("there is no mariadbd on this machine (Debian: apt install mariadb-server)")
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix="mariadb-") as folder:
        options = ["--no-defaults", "--user=root", f"--datadir={folder}/data"]
        root = ["--auth-root-authentication-method=normal", "--skip-test-db"]
        done = subprocess.run([install, *options, *root], capture_output=True, text=True, check=False)
        if done.returncode:
            raise Skipped(f"mariadb-install-db ended {done.returncode}: {done.stderr.strip()[-200:]}")
        port = _free_port()
        options += [f"--socket={folder}/socket", "--bind-address=127.0.0.1", f"--port={port}"]
        with Path(folder, "log").open("wb") as log:
            process = subprocess.Popen([server, *options], stdout=log, stderr=log)
        try:
            _wait(process, port)
            yield {"DJ_HOST": "127.0.0.1", "DJ_PORT": str(port), "DJ_USER": "root", "DJ_PASS": ""}
        finally:
            process.terminate()
            process.wait()


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def _wait(process: "subprocess.Popen[bytes]", port: int) -> None:
    """Until the server answers."""
    end = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise Skipped(f"mariadbd did not start within {_START_SECONDS:g} s")
