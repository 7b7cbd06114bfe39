"""What a user's code did to the process, undone."""

# A `Path` costs a few microseconds, and every row pays them.
# ruff: noqa: PTH109

import os
from contextlib import suppress

__all__ = ["Undoing"]


class Undoing:
    """Puts folder, umask and environment back to what they were before the user's code."""

    def __init__(self) -> None:
        self._process = os.getpid()
        self._folder = os.getcwd()
        self._umask = os.umask(0o022)
        os.umask(self._umask)
        self._before: dict[bytes, bytes] = {}

    def __enter__(self) -> None:
        self._before = _environment().copy()

    def __exit__(self, kind: object, *_: object) -> None:
        if os.getpid() != self._process:
            # A child that the script forked came back from run(): it must not go on as a second worker.
            os._exit(0 if kind is None else 1)
        os.umask(self._umask)
        if not _is_folder(self._folder):
            with suppress(OSError):
                os.chdir(self._folder)
        if _environment() != self._before:
            wanted = {os.fsdecode(name): os.fsdecode(value) for name, value in self._before.items()}
            for name in set(os.environ) - set(wanted):
                del os.environ[name]
            os.environ.update(wanted)


def _is_folder(folder: str) -> bool:
    try:
        return os.getcwd() == folder
    except OSError:
        return False


def _environment() -> dict[bytes, bytes]:
    """The environment's own dict: copying and comparing `os.environ` itself decodes every value, per row."""
    return os.environ._data  # type: ignore[attr-defined,no-any-return]  # noqa: SLF001
