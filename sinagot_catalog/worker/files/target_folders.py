"""Target folders: the folders of the outputs on local disks; makes, checks and caches them.

Outputs are never published through a symbolic link, except for literal folders of patterns. Such a link must have
existed when the run began, and must belong to the user or root. A checked folder is cached with its device and
inode, so a replaced folder is checked again. Standard library only.
"""

# A `Path` costs a few microseconds, and every row pays them.
# ruff: noqa: PTH102, PTH114, PTH115, PTH116, PTH118, PTH119, PTH120

import os
import re
import stat
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from sinagot_catalog.errors import StorageError
from sinagot_catalog.journal import RunSpec
from sinagot_catalog.patterns import Template
from sinagot_catalog.storage import is_url, sync_one

if TYPE_CHECKING:
    from sinagot_catalog.worker.files.staging import StagingFolder

_REMEMBERED = 10_000


class TargetFolder(NamedTuple):
    """A folder of the outputs, as it was when it was first checked.

    Attributes:
        full: Its full path.
        real: The full path with all links resolved.
        device: The device number of its file system.
        inode: Its inode number; a different number means that the folder was replaced.
        is_plain: Whether a file that is renamed into it equals a file that is written there.
        group: The group that published files get; None if staged files already have it.
        sets_group: Whether new entries inherit the group (set-group-id).
    """

    full: str
    real: str
    device: int
    inode: int
    is_plain: bool
    group: int | None
    sets_group: bool


class TargetFolders:
    """The folders below the outputs folder of a run.

    Args:
        spec: The run.
        staging: The staging folder of the process.
    """

    def __init__(self, spec: RunSpec, staging: "StagingFolder") -> None:
        self.outputs = spec.outputs
        self._log = spec.log
        self._durable = spec.durable
        self._staging = staging
        made = [port.template for step in spec.cells for port in (*step.outputs, *step.controls)]
        # Literal folders of the outputs may be links.
        self._trusted = frozenset(folder for template in made for folder in parents(template.prefix))
        self._links = links_among(spec.outputs, self._trusted) if spec.links is None else spec.links
        outputs = {port.template for step in spec.cells for port in step.outputs}
        inputs = {one.template for step in spec.cells for port in step.inputs for one in (port, *port.others)}
        # Only on a local disk an input can have a second name, through a link.
        raw = () if is_url(spec.dataset) else inputs - outputs
        self._raw = [_InputNames.of(spec.dataset, template) for template in raw]
        self._known: dict[str, TargetFolder] = {}

    def forget(self) -> None:
        """Forget all checked folders: the next `get` checks them again."""
        self._known.clear()

    def of_output(self, path: str) -> TargetFolder:
        """The folder of an output path; made if it is absent.

        Raises:
            StorageError: When publishing below it is not allowed, or the path is an input by another name.
            OSError: When the disk refuses.
        """
        parent, _, name = path.rpartition("/")
        folder = self.get(parent)
        for pattern, by_name, by_real_path in self._raw:
            is_input = by_real_path.fullmatch(f"{folder.real}/{name}")
            if is_input and not by_name.fullmatch(f"{self.outputs}/{path}"):
                raise StorageError(
                    f"cannot publish {path}: through a link it is a file of the input {pattern!r}, "
                    "and an input is never replaced"
                )
        return folder

    def get(self, folder: str) -> TargetFolder:
        """A target folder; made if it is absent.

        Args:
            folder: Its path, relative.

        Raises:
            StorageError: When publishing below it is not allowed.
            OSError: When the disk refuses.
        """
        target = self._known.get(folder)
        if target is not None:
            try:
                now = os.stat(target.full)
                if now.st_ino == target.inode and now.st_dev == target.device:
                    return target
            except (FileNotFoundError, NotADirectoryError):
                pass
            self._known.clear()  # the folder, or one above it, was replaced
        return self._check(folder)

    def _check(self, folder: str) -> TargetFolder:
        full = f"{self.outputs}/{folder}" if folder else self.outputs
        is_new = True
        parent = self.get(folder.rpartition("/")[0]) if folder else None
        try:
            os.mkdir(full)
        except FileExistsError:
            is_new = False
        if folder and not is_new:
            self._check_folder(folder, full)
        elif folder and self._durable:
            sync_one(os.path.dirname(full))
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        if parent is None or (not is_new and os.path.islink(full)):
            real = os.path.realpath(full)
        else:
            real = f"{parent.real}/{os.path.basename(full)}"
        known = self._known[folder] = self._described(full, real)
        return known

    def _described(self, full: str, real: str) -> TargetFolder:
        info, staging = os.stat(full), self._staging.stat
        own = os.getegid()
        sets_group = bool(info.st_mode & stat.S_ISGID)
        group = info.st_gid if sets_group else own
        is_of_group = group == own and not staging.st_mode & stat.S_ISGID
        return TargetFolder(
            full,
            real,
            info.st_dev,
            info.st_ino,
            is_plain=info.st_dev == staging.st_dev and is_of_group,
            group=None if is_of_group else group,
            sets_group=sets_group,
        )

    def _check_folder(self, folder: str, full: str) -> None:
        """Refuse an existing folder if publishing below it is not allowed."""
        info = os.stat(full)
        if not stat.S_ISDIR(info.st_mode):
            raise StorageError(f"cannot publish below {folder}: it is a file, not a folder")
        real = os.path.realpath(full)
        log = os.path.realpath(self._log)
        with suppress(FileNotFoundError):
            if os.path.samestat(info, os.stat(log)) or real.startswith(f"{log}/"):
                raise StorageError(
                    f"cannot publish below {folder}: that is the LOG folder, which is never data"
                )
        if os.path.islink(full):
            self._check_link(folder, full, real)

    def _check_link(self, folder: str, full: str, real: str) -> None:
        """Refuse a link, unless it is a literal folder of a pattern; a folder named after a record is none."""
        if folder not in self._trusted:
            root = os.path.realpath(self.outputs)
            leaves = real != root and not real.startswith(f"{root}/")
            raise StorageError(
                f"cannot publish below {folder}: it is a link{' that leaves the dataset' if leaves else ''}, "
                "and only literal folders of an output's pattern may be links"
            )
        if self._links.get(folder) != os.readlink(full):
            raise StorageError(f"cannot publish below {folder}: it became a link during the run")
        for link in _chain(full):
            if os.lstat(link).st_uid not in (os.geteuid(), 0):
                raise StorageError(
                    f"cannot publish below {folder}: {link} is a link of another user; "
                    "make the link yourself, or name the folder that it leads to"
                )


def parents(folder: str) -> list[str]:
    """A folder and all above it, relative.

    Example:
        >>> parents("a/b/")
        ['a', 'a/b']
    """
    parts = [part for part in folder.split("/") if part]
    return ["/".join(parts[: end + 1]) for end in range(len(parts))]


def links_among(root: str, folders: Iterable[str]) -> dict[str, str]:
    """The folders that are symbolic links, each with its target."""
    links = {}
    for folder in folders:
        with suppress(OSError):
            links[folder] = os.readlink(f"{root}/{folder}")
    return links


def _chain(link: str) -> list[str]:
    """A link and the further links that its target leads through."""
    chain = []
    while os.path.islink(link) and link not in chain:
        chain.append(link)
        link = os.path.normpath(os.path.join(os.path.dirname(link), os.readlink(link)))
    return chain


class _InputNames(NamedTuple):
    """The paths of an input that no step makes, by which an output is recognised as its second name.

    Attributes:
        pattern: The pattern of the input.
        by_name: Matches its paths as the pattern has them.
        by_real_path: Matches its paths with the links among the literal folders resolved.
    """

    pattern: str
    by_name: re.Pattern[str]
    by_real_path: re.Pattern[str]

    @classmethod
    def of(cls, dataset: str, template: Template) -> "_InputNames":
        """The paths of an input below the dataset folder."""
        real = os.path.realpath(f"{dataset}/{template.prefix}")
        return cls(template.text, _matcher(dataset, "", template), _matcher(real, template.prefix, template))


def _matcher(root: str, prefix: str, template: Template) -> re.Pattern[str]:
    """A regex for the paths of a pattern, and for everything inside them, below a root folder."""
    wild = {"any": "[^/]*", "deep": ".*"}
    parts = [
        re.escape(value) if kind == "text" else wild.get(kind, "[^/]+") for kind, value in template.tokens
    ]
    if prefix:
        parts[0] = re.escape(template.tokens[0][1].removeprefix(prefix))
    return re.compile(re.escape(f"{root.rstrip('/')}/") + "".join(parts) + "(?:/.*)?", re.DOTALL)
