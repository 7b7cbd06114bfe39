"""The script importer: imports a script and returns its class; modules beside the script are importable meanwhile.

A helper is a module beside a script that is not itself the script of a step.
"""

import importlib.machinery
import re
import sys
import types
from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

from sinagot_catalog.errors import NotFoundError, did_you_mean
from sinagot_catalog.scripts.module_names import NO_MAIN, escape, package_of
from sinagot_catalog.scripts.step_function import FunctionScript
from sinagot_catalog.storage import file_stamp, read_regular

Stamp = tuple[int, int]

SOURCE_BOUND = 16_000_000
"""The largest size in bytes of a script or helper."""

_STEP = re.compile(rb"^(?:class\s+Script\b|@(?:\w+\.)?step\s*\()", re.MULTILINE)
"""Matches a file that is the script of a step, and no helper."""


def is_step(source: bytes) -> bool:
    """Whether a file is the script of a step, and no helper."""
    return _STEP.search(source) is not None


class _SourceLoader(importlib.machinery.SourceFileLoader):
    """Compiles the source on each import: Python's bytecode cache can miss an edit within a second.

    That cache would also write files beside the source. The module gets a `__name__` that other processes can
    import (see `module_names`), because its functions and classes are pickled by that name.
    """

    def __init__(self, package: str, fullname: str, path: str) -> None:
        super().__init__(fullname, path)
        self._package = package

    def get_code(self, fullname: str) -> types.CodeType:
        path = self.get_filename(fullname)
        return self.source_to_code(read_regular(path, SOURCE_BOUND), path)

    def exec_module(self, module: types.ModuleType) -> None:
        """Execute a module; it stays in `sys.modules`, so that its functions can be pickled."""
        module.__name__ = name = f"{self._package}.{self.name}"
        before = sys.modules.get(name)
        sys.modules[name] = module
        try:
            exec(self.get_code(self.name), module.__dict__)  # noqa: S102
        except BaseException:
            sys.modules.pop(name, None)
            if before is not None:
                sys.modules[name] = before
            raise


class Folder:
    """An import finder for the modules beside the scripts of one folder, active while one of these scripts runs.

    A helper takes precedence over an installed module of the same name, but not over the standard library. A step
    script and a folder without `__init__.py` take precedence over neither: the step `mne` can import `mne`.
    """

    def __init__(self, folders: Sequence[str]) -> None:
        self.folders = tuple(dict.fromkeys(folders))
        self.modules: dict[str, types.ModuleType] = {}
        self.stamps: dict[str, Stamp | None] = {}
        self.served: set[str] = set()
        self.helpers: tuple[str, ...] = ()
        self.hidden: dict[str, types.ModuleType] = {}
        self.depth = 0
        self.main: types.ModuleType | None = None
        self.package = package_of(self.folders)
        sources = partial(_SourceLoader, package_of(self.folders, helpers=True))
        self._loaders: tuple[Any, ...] = (
            (importlib.machinery.ExtensionFileLoader, importlib.machinery.EXTENSION_SUFFIXES),
            (sources, importlib.machinery.SOURCE_SUFFIXES),
        )

    def look(self) -> None:
        """List the helpers again, and forget all imported modules if one of them has changed."""
        if any(file_stamp(path) != stamp for path, stamp in self.stamps.items()):
            self.forget()
        names = set()
        for folder in self.folders:
            for entry in Path(folder).iterdir() if Path(folder).is_dir() else ():
                name = entry.name.partition(".")[0]
                if name.isidentifier() and name not in sys.stdlib_module_names and _is_helper(entry):
                    names.add(name)
        self.helpers = tuple(sorted(names))

    def forget(self) -> None:
        """Forget the imported modules: the next use imports them again."""
        self.modules.clear()
        self.stamps.clear()
        self.served.clear()

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """The spec of a module; Python's import system calls this before every other finder."""
        if path is not None:
            return self._serve(self._spec(name, path)) if name.rpartition(".")[0] in self.served else None
        if name in sys.stdlib_module_names:
            return None
        spec = self._spec(name, self.folders)
        if spec is None:
            return None
        if name not in self.helpers:
            others = (finder.find_spec(name, None, target) for finder in sys.meta_path if finder is not self)
            installed = next((other for other in others if other is not None), None)
            if installed is not None:
                return installed
        return self._serve(spec)

    def _serve(self, spec: importlib.machinery.ModuleSpec | None) -> importlib.machinery.ModuleSpec | None:
        if spec is not None:
            self.served.add(spec.name)
            if spec.origin:
                self.stamps[spec.origin] = file_stamp(spec.origin)
        return spec

    def __enter__(self) -> None:
        self.depth += 1
        if self.depth > 1:
            return
        modules = sys.modules
        if any(name in modules for name in self.helpers):
            own = [name for name in list(modules) if name.partition(".")[0] in self.helpers]
            self.hidden = {name: modules.pop(name) for name in own}
        modules.update(self.modules)
        self.main = modules.get("__main__")
        modules["__main__"] = NO_MAIN
        sys.meta_path.insert(0, self)

    def __exit__(self, *_: object) -> None:
        self.depth -= 1
        if self.depth:
            return
        if self in sys.meta_path:
            sys.meta_path.remove(self)
        if self.main is not None:
            sys.modules["__main__"] = self.main
        for name in self.served:
            module = sys.modules.pop(name, None)
            if module is not None:
                self.modules[name] = module
        if self.hidden:
            sys.modules.update(self.hidden)
            self.hidden.clear()

    def run_script(self, script: str) -> types.ModuleType:
        """Execute a script as a module."""
        try:
            Path(script).stat()
        except FileNotFoundError:
            raise NotFoundError(f"script file {script} is missing") from None
        module = types.ModuleType("")
        module.__file__ = script
        _SourceLoader(self.package, escape(Path(script).stem), script).exec_module(module)
        return module

    def _spec(self, name: str, folders: Sequence[str]) -> importlib.machinery.ModuleSpec | None:
        for folder in folders:
            spec = importlib.machinery.FileFinder(folder, *self._loaders).find_spec(name)
            if spec is not None and spec.loader is not None:
                return spec
        locations = [
            str(place) for folder in folders if (place := Path(folder, name.rpartition(".")[2])).is_dir()
        ]
        if not locations:
            return None
        bare = importlib.machinery.ModuleSpec(name, None, is_package=True)
        bare.submodule_search_locations = locations
        return bare


def _is_helper(entry: Path) -> bool:
    """Whether a file or folder beside a script is a module, and not the script of a step."""
    if entry.is_dir():
        return (entry / "__init__.py").is_file()
    if entry.suffix != ".py":
        return entry.name.endswith(tuple(importlib.machinery.EXTENSION_SUFFIXES))
    try:
        return not is_step(read_regular(entry, SOURCE_BOUND))
    except OSError:
        return False


class ScriptHost:
    """Imports scripts; imports one again when its file or one of its helpers has changed.

    Use it from one thread at a time: all threads of the process share `sys.modules`.

    Args:
        scripts: The scripts folder; every script can import its modules. Those beside the script come first.
    """

    def __init__(self, scripts: str) -> None:
        self._scripts = str(Path(scripts).absolute())
        self._folders: dict[str, Folder] = {}
        self._loaded: dict[str, tuple[types.ModuleType, dict[str, Stamp | None]]] = {}

    def load(self, script: str, name: str = "Script") -> type:
        """The class of a script: `Script` (or the class that `@step` made of its function), or another name.

        Raises:
            NotFoundError: When the file does not exist, or does not have that class.
        """
        script = str(Path(script).absolute())
        folder = self._folder(script)
        stamp = file_stamp(script)
        loaded = self._loaded.get(script)
        if loaded is not None and all(file_stamp(path) == item for path, item in loaded[1].items()):
            return _class_of(loaded[0], script, name)
        folder.look()
        with self.importing(script):
            module = folder.run_script(script)
        self._loaded[script] = (module, {script: stamp, **folder.stamps})
        return _class_of(module, script, name)

    def importing(self, script: str) -> AbstractContextManager[None]:
        """A context in which the modules beside a script can be imported; entered for each run of the script."""
        return self._folder(script)

    def _folder(self, script: str) -> Folder:
        own = str(Path(script).absolute().parent)
        if own not in self._folders:
            self._folders[own] = Folder([own, self._scripts])
        return self._folders[own]


def _class_of(module: types.ModuleType, script: str, name: str) -> type:
    script_class = getattr(module, name, None)
    own = [
        var for var in vars(module).values() if isinstance(var, type) and var.__module__ == module.__name__
    ]
    functions = [cls for cls in own if issubclass(cls, FunctionScript) and cls.__name__ in vars(module)]
    if name == "Script" and functions and functions != [script_class]:
        if len(functions) == 1 and script_class is None:
            return functions[0]
        names = ", ".join(function.__name__ for function in functions)
        both = (
            "both a class Script and the step function"
            if script_class is not None
            else "more than one step function:"
        )
        raise NotFoundError(f"{script} has {both} {names}; a file is one step")
    if isinstance(script_class, type):
        return script_class
    classes = [cls.__name__ for cls in own]
    raise NotFoundError(f"{script} has no class {name}{did_you_mean(name, classes)}")
