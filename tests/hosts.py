"""Hosts: programs on this machine that believe to be on machines of their own, made of Linux namespaces.

A host has its own host name, network, process ids, home and boot id, and shares the file system. Its loopback
passes chosen ports on to servers of this machine, through a socket in a shared folder.
"""

import asyncio
import os
import shlex
import subprocess
import sys
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

BOOT = "/proc/sys/kernel/random/boot_id"
_OWN = ["unshare", "--fork", "--kill-child", "--pid", "--mount", "--mount-proc", "--uts", "--net"]
_AS_ROOT = ["--user", "--map-root-user"]
"""What a user without privileges needs."""


class Host:
    """A host that runs one program; everything on it ends with the program, and when the host is lost."""

    def __init__(self, name: str, folder: Path, ports: Mapping[int, Path]) -> None:
        """Make its home; `ports` are those of its loopback, each with the socket that it is passed on to."""
        self.name = name
        self.home = folder / name
        self.home.mkdir()
        self._boot = folder / f"{name}.boot"
        self._boot.write_text(f"{uuid.uuid4()}\n")
        self._ports = ports
        self._process: subprocess.Popen[bytes] | None = None

    def command(self, words: Sequence[str | Path]) -> list[str]:
        """The command that runs a program on the host."""
        relays = [
            f"{shlex.quote(sys.executable)} {shlex.quote(__file__)} tcp:{port} unix:{shlex.quote(str(at))} &"
            for port, at in self._ports.items()
        ]
        lines = [
            "set -e",
            f"hostname {self.name}",
            "ip link set lo up",
            f"mount --bind {shlex.quote(str(self._boot))} {BOOT}",
            *relays,
            f"{shlex.join(map(str, words))} &",
            "wait $!",
        ]
        return [*_OWN, *(_AS_ROOT if os.geteuid() else []), "sh", "-c", "\n".join(lines)]

    def start(self, words: Sequence[str | Path], environment: Mapping[str, str]) -> None:
        """Start its program; what it says goes to the file `said` in its home."""
        own = {
            "HOME": self.home,
            "SINAGOT_CATALOG_HOME": self.home / "ours",
            "PREFECT_HOME": self.home / "prefect",
        }
        with (self.home / "said").open("wb") as said:
            self._process = subprocess.Popen(
                self.command(words),
                env={**environment, **{name: str(path) for name, path in own.items()}},
                cwd=self.home, stdin=subprocess.DEVNULL, stdout=said, stderr=said,
            )  # fmt: skip

    def lose(self) -> None:
        """Kill all its processes at once, as a power failure does."""
        if self._process is not None:
            self._process.kill()  # the first process of the host dies with it, and all others with that one
            self._process.wait(300)
            self._process = None


def check_hosts(folder: Path) -> None:
    """Skip the test where such hosts may not be made."""
    command = Host("probe", folder, {}).command(["sh", "-c", f"hostname; cat {BOOT}"])
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    except FileNotFoundError as error:
        pytest.skip(f"no hosts of namespaces: {error}")
    if done.returncode:
        pytest.skip(f"no hosts of namespaces: {done.stderr.strip()}")
    assert done.stdout == f"probe\n{(folder / 'probe.boot').read_text()}"


def relay(listen: str, to: str) -> subprocess.Popen[bytes]:
    """Start a program that passes connections on; addresses are `tcp:PORT` of the loopback, or `unix:PATH`."""
    return subprocess.Popen([sys.executable, __file__, listen, to])


async def _relay(listen: str, to: str) -> None:
    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        kind, _, place = to.partition(":")
        try:
            if kind == "tcp":
                there, back = await asyncio.open_connection("127.0.0.1", int(place))
            else:
                there, back = await asyncio.open_unix_connection(place)
        except OSError:
            writer.close()
            return
        await asyncio.gather(pass_on(reader, back), pass_on(there, writer))

    kind, _, place = listen.partition(":")
    if kind == "tcp":
        server = await asyncio.start_server(serve, "127.0.0.1", int(place))
    else:
        server = await asyncio.start_unix_server(serve, place)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_relay(*sys.argv[1:]))
