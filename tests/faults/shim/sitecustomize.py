"""Kills processes at a named point, from outside the library: found on PYTHONPATH by the run and by its workers.

`FAULT=<point>:<count>:<whom>`: at the count-th time that this process comes to the point, `whom` gets SIGKILL:
`self`, `parent` (where this is a worker: the run), or `all` (the run and every process of it). `FAULT_ROLE` is
`run` or `worker`: which of them comes to it. Once per run: a file beside the workspace says that it was done.
`FAULT_HOST` is the name that this machine has for the run.
"""

# ruff: noqa: C901, PLR0915, SIM105 - one function that wraps what it must, in every process of a run

import os
import signal
import sys

_POINT, _COUNT, _WHOM = [*os.environ.get("FAULT", "::").split(":"), "", ""][:3]


def _install() -> None:
    real = {
        name: getattr(os, name)
        for name in ("replace", "rename", "mkdir", "link", "unlink", "write", "rmdir", "open")
    }
    left = [int(_COUNT)]
    moved = [False]

    def strike(fd: int = -1, last: bytes = b"") -> None:
        left[0] -= 1
        if left[0]:
            return
        try:
            os.close(real["open"](os.environ["FAULT_DONE"], os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        except FileExistsError:
            return
        if last:
            real["write"](fd, last)
        me, parent = os.getpid(), os.getppid()
        if _WHOM == "self":
            os.kill(me, signal.SIGKILL)
        elif _WHOM == "parent":
            os.kill(parent, signal.SIGKILL)
        else:
            run = parent if "sinagot_catalog.worker" in sys.orig_argv else me
            children = [int(one) for one in open(f"/proc/{run}/task/{run}/children").read().split()]  # noqa: PTH123, SIM115
            for task in os.listdir(f"/proc/{run}/task"):  # noqa: PTH208
                with open(f"/proc/{run}/task/{task}/children") as file:  # noqa: PTH123
                    children += [int(one) for one in file.read().split()]
            for pid in [run, *(one for one in children if one != me), me]:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass

    def text(path: object) -> str:
        return os.fsdecode(path) if isinstance(path, (str, bytes, os.PathLike)) else ""

    def is_move(source: object) -> bool:
        return "/.staging/" in text(source)

    def move(call):
        def moving(source, target, **options):
            if is_move(source) or ".tmp" in text(source):
                published = is_move(source)
                if published and _POINT == "before-publishing" and not moved[0]:
                    strike()
                if published and _POINT == "between-publishes" and moved[0]:
                    strike()
                if not published and _POINT == "beside":
                    strike()
                call(source, target, **options)
                if published:
                    moved[0] = True
                if published and _POINT == "after-rename":
                    strike()
                return
            call(source, target, **options)

        return moving

    def write(fd, data):
        line = bytes(data)
        if line.startswith(b'{"schema"'):
            moved[0] = False
            kind = line[:60]
            if _POINT == "before-done" and b'"done"' in kind:
                strike()
            if _POINT == "torn-line" and b'"done"' in kind:
                strike(fd, line[: len(line) // 2])
            if _POINT == "after-publishing-line" and b'"publishing"' in kind:
                written = real["write"](fd, data)
                strike()
                return written
            if _POINT == "after-start" and b'"start"' in kind:
                written = real["write"](fd, data)
                strike()
                return written
        elif _POINT == "half-written" and line.startswith(b"HALF"):
            written = real["write"](fd, data)
            strike()
            return written
        return real["write"](fd, data)

    def mkdir(path, *rest, **options):
        if _POINT == "staging" and "/.staging/" in text(path):
            strike()
        return real["mkdir"](path, *rest, **options)

    def link(source, target, **options):
        if _POINT == "claim" and "/claims/" in text(target):
            strike()
        if _POINT == "compact" and "/compact-" in text(target):
            strike()
        real["link"](source, target, **options)
        if _POINT == "claimed" and "/claims/" in text(target):
            strike()
        if _POINT == "compacted" and "/compact-" in text(target):
            strike()

    def unlink(path, *rest, **options):
        if _POINT == "compacting" and "/journal/" in text(path) and text(path).endswith(".ndjson"):
            strike()
        if _POINT == "sweeping" and ("/.staging/" in text(path) or options.get("dir_fd") is not None):
            strike()
        return real["unlink"](path, *rest, **options)

    def rmdir(path, *rest, **options):
        if _POINT == "pruning" and "/journal/" in text(path):
            strike()
        return real["rmdir"](path, *rest, **options)

    os.replace, os.rename = move(real["replace"]), move(real["rename"])
    os.write, os.mkdir, os.link, os.unlink, os.rmdir = write, mkdir, link, unlink, rmdir
    os.remove = unlink


if os.environ.get("FAULT_HOST"):
    import socket

    socket.gethostname = lambda: os.environ["FAULT_HOST"]

if _POINT and os.environ["FAULT_ROLE"] == ("worker" if "sinagot_catalog.worker" in sys.orig_argv else "run"):
    _install()
