"""Module names of users' scripts and helpers, under which every process of this machine can import them.

    sinagot_catalog.scripts.user_modules./data/scripts.count     the script of the step `count` in /data/scripts
    sinagot_catalog.scripts.user_modules./data/scripts+.helper   helper.py beside it; scripts import it as `helper`

A script may start processes itself: multiprocessing (fork, spawn, forkserver), concurrent.futures, loky. These
processes import the functions that they receive by the name of their module. The name contains the folder, with its
dots escaped. So finding the module needs no entry of `sys.path`, no variable and no file, and two workspaces never
share a name. After a process has imported such a name, the helpers of that folder stay importable in it.

The user's `__main__` is hidden while a script runs, because such processes would run it again.
"""

import importlib.abc
import importlib.machinery
import sys
import types
from collections.abc import Sequence
from typing import TYPE_CHECKING
from urllib.parse import unquote

if TYPE_CHECKING:
    from sinagot_catalog.scripts.importer import Folder

USER_SCRIPTS = "sinagot_catalog.scripts.user_modules"
"""The prefix of the names of users' modules."""

NO_MAIN = types.ModuleType("__main__")
"""The empty module that a script and its processes see as `__main__`."""

_ESCAPED = {"%": "%25", ".": "%2E", ":": "%3A", "+": "%2B"}
_HELPERS = "+"


def package_of(folders: Sequence[str], *, helpers: bool = False) -> str:
    """The package of the scripts of a folder, or of the modules beside them.

    Args:
        folders: The scripts' own folder, and the scripts folder of the workspace if that is a different folder.
        helpers: Return the package of the modules beside the scripts.

    Example:
        >>> package_of(["/data/my.scripts"], helpers=True)
        'sinagot_catalog.scripts.user_modules./data/my%2Escripts+'
    """
    escaped = ":".join(map(escape, folders))
    return f"{USER_SCRIPTS}.{escaped}{_HELPERS if helpers else ''}"


def escape(text: str) -> str:
    """Escape a text so that it is one part of a module name."""
    return "".join(_ESCAPED.get(letter, letter) for letter in text)


def make_importable() -> None:
    """Make users' modules importable by their names in this process."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder:
    """An import finder for users' modules: imports them the same way as scripts do."""

    def __init__(self) -> None:
        self._entered: dict[str, Folder] = {}

    def find_spec(
        self,
        name: str,
        path: Sequence[str] | None = None,  # noqa: ARG002 a part of the protocol
        target: types.ModuleType | None = None,  # noqa: ARG002 a part of the protocol
    ) -> importlib.machinery.ModuleSpec | None:
        """The spec of a user's module; Python's import system calls this."""
        if not name.startswith(f"{USER_SCRIPTS}."):
            return None
        token, _, module = name.removeprefix(f"{USER_SCRIPTS}.").partition(".")
        if not module:
            return importlib.machinery.ModuleSpec(name, None, is_package=True)
        return importlib.machinery.ModuleSpec(name, _Loader(self._folder(token), module, token))

    def _folder(self, token: str) -> "Folder":
        """The folder of a package; its helpers stay importable in this process."""
        from sinagot_catalog.scripts.importer import Folder

        token = token.removesuffix(_HELPERS)
        if token not in self._entered:
            folder = Folder([unquote(folder) for folder in token.split(":")])
            folder.look()
            folder.__enter__()
            self._entered[token] = folder
        return self._entered[token]


class _Loader(importlib.abc.Loader):
    """Loads a user's module."""

    def __init__(self, folder: "Folder", module: str, token: str) -> None:
        self._folder = folder
        self._module = module
        self._is_helper = token.endswith(_HELPERS)
        self._spec: object = None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:  # noqa: ARG002 as above
        """The module, already executed."""
        if self._is_helper:
            module = importlib.import_module(self._module)
        else:
            file = f"{self._folder.folders[0]}/{unquote(self._module)}.py"
            module = self._folder.run_script(file)
        self._spec = module.__spec__
        return module

    def exec_module(self, module: types.ModuleType) -> None:
        """Do not execute it again; only restore its own spec."""
        module.__spec__ = self._spec  # type: ignore[assignment]
