"""No raw file is lost: generated layouts are run, forced, watched, cleared and killed; then every file is compared.

What a run may touch is computed here from the layout alone: paths are filled with the ids that the tree holds and
links are resolved. An existing file may change in three cases only: it is a declared output of the row that wrote
it and no input of that layout is raw there; that row made it before; or that row writes it anew in its own folder.
"""

import contextlib
import itertools
import json
import os
import re
import stat
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from sinagot_catalog import Workspace
from sinagot_catalog.errors import SinagotError

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="killed processes are forked from one that waits"
)

PATTERNS = [
    "{id}.csv", "{id}/", "{id}/done.txt", "{id}/eeg/raw.csv", "{id}/eeg/", "{id}/eeg",
    "raw/{id}.csv", "raw/{id}_clean.csv", "raw/{id}/", "raw/{id}/a.csv", "raw/", "raw/all.csv",
    "view/{id}.csv", "view/{id}/", "view/{id}/a.csv",
    "deriv/{id}/", "deriv/{id}/b.txt", "deriv/{id}/sub/", "deriv/{id}",
    "out/{id}.csv", "out/{id}/", "out/{id}/eeg/raw.csv", "out/all.csv",
]  # fmt: skip
WILDCARDS = [
    "raw/{id}/*.csv", "raw/{id}/**/*.csv", "raw/*.csv", "{id}/eeg/*", "view/{id}/*", "deriv/{id}/*",
    "deriv/{id}/*/", "raw/{first}*.csv", "raw/{first}/*", "**/{id}.csv",
]  # fmt: skip
GROUP_OUTPUTS = [
    "group/{first}.csv", "group/{first}/", "group/{first}/g.csv", "raw/group_{first}/", "deriv/{first}/",
    "raw/{first}.csv", "raw/{first}/", "raw/{first}/a.csv", "view/{first}/", "{first}/", "{first}/eeg/",
]  # fmt: skip
ALL_OUTPUTS = ["out/all.csv", "group/", "group/all/", "raw/all.csv", "raw/", "deriv/all/", "view/all.csv"]
IDS = ["R1", "R2", "R-é 3", "R1_clean"]
EXTRAS = [
    "notes.txt",
    "R2.csv",
    "all.csv",
    "a.csv",
    "../participants.tsv",
    "../raw/R1.csv",
    "../R2/eeg/raw.csv",
]
LINKS = {
    "raw": "../vault",
    "view": "raw",
    "out": "../vault/out",
    "deriv/R1": "../raw",
    "out/R1": "../vault",
    "out/R1.csv": "../raw/R1.csv",
    "raw/R1.csv": "../../vault/R1.csv",
    "raw/R1": "../R1",
    "LOG/.staging": "../../vault",
    "LOG/claims": "../../vault",
    "LOG/journal": "../../vault",
    "LOG/selections": "../../vault",
    "LOG/reports": "../../vault",
}
FILES = [
    "raw/{}.csv", "raw/{}/a.csv", "raw/{}/notes.txt", "raw/all.csv", "{}/eeg/raw.csv", "{}/notes.txt", "{}.csv",
    "deriv/{}/notes.txt", "deriv/{}/b.txt", "out/{}.csv", "out/{}/notes.txt", "out/{}.csv/notes.txt",
    "../vault/{}.csv", "../vault/a.csv", "../vault/{}/notes.txt", "../vault/out/{}.csv",
]  # fmt: skip
SCRIPT = """
import json, os, shutil
from pathlib import Path
from sinagot_catalog import ScriptTemplate, any_of, optional

PLAN = json.loads({plan!r})

def one_of(port):
    while isinstance(port, list):
        port = port[0] if port else None
    return port

class Script(ScriptTemplate):
    PATH_IN = {inputs}
    PATH_OUT = {outputs!r}
    PATH_CONTROL = {control!r}
    BY = {by!r}
    PARTIAL = {partial!r}

    def run(self):
        source = one_of(self.path.input["i0"])
        line = json.dumps(["MADE", self.label, self.task, self.id, os.urandom(4).hex()]) + "\\n"
        for name, port in (self.path.output | (self.path.control or {{}})).items():
            if name in PLAN["folders"]:
                port.mkdir(exist_ok=True)
                for part in PLAN["names"]:
                    (port / part).write_text(line)
                if PLAN["link"] and source and source.exists():
                    os.symlink(source, port / "link")
            elif PLAN["link"] and source and source.is_file():
                {{"symlink": os.symlink, "hardlink": os.link}}[PLAN["link"]](source, port)
            else:
                port.write_text(line)
        for extra in PLAN["extras"]:
            path = Path(os.path.normpath(self.path.output["o0"].parent / extra))
            path.parent.mkdir(parents=True, exist_ok=True)
            if path not in self.path.output.values():  # its link may lead to raw data
                with open(path, "a") as file:
                    file.write(line)
        if PLAN["fails"]:
            raise ValueError("no boats")
"""
FORK = """
import json, os, signal, sys
from sinagot_catalog import Workspace
import sinagot_catalog.steps, sinagot_catalog.run.execution, sinagot_catalog.worker.job

def strike(left):
    changes = {"os." + name for name in ("rename", "remove", "rmdir", "mkdir", "link", "symlink", "chmod")}
    left = [left]
    def heard(event, arguments):
        if event in changes or (event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR)):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(heard)

for line in sys.stdin:
    folder, force, left = json.loads(line)
    child = os.fork()
    if child == 0:
        ended = 1
        try:
            ws = Workspace(folder)
            strike(left)
            ws.steps.run(force=force, progress=False)
            ended = 0
        finally:
            os._exit(ended)
    print(os.waitpid(child, 0)[1], flush=True)
"""
COMMAND = """
import json, os, pathlib, sys
step, task, record, *ports = sys.argv[1:]
for port in ports:
    path = pathlib.Path(port[2:])
    if port[0] == "d":
        path.mkdir(exist_ok=True)
        path /= "one.txt"
    path.write_text(json.dumps(["MADE", step, task or None, record, os.urandom(4).hex()]) + "\\n")
"""


# -- what is generated --------------------------------------------------------------------------------------------


class Short:
    """What is shown of a layout: what differs from the defaults."""

    def __repr__(self):
        known = [(one.name, getattr(self, one.name), one.default) for one in fields(self)]
        told = (f"{name}={value!r}" for name, value, default in known if value != default)
        return f"{type(self).__name__}({', '.join(told)})"


@dataclass(frozen=True, repr=False)
class Step(Short):
    """A step of a layout, and what its script does.

    An input may be `a|b` (alternatives) or `?a` (optional); with `by`, the step has a row per group.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    control: tuple[str, ...] = ()
    folders: frozenset[str] = frozenset()
    names: tuple[str, ...] = ("one.txt",)
    extras: tuple[str, ...] = ()
    link: str = ""
    fails: bool = False
    is_command: bool = False
    by: tuple[str, ...] | None = None
    partial: bool = False

    @property
    def input_patterns(self):
        """The pattern of every input, and of each alternative."""
        return [pattern for port in self.inputs for pattern in port.removeprefix("?").split("|")]

    @property
    def ports(self):
        """The output patterns by port."""
        made = {f"o{number}": pattern for number, pattern in enumerate(self.outputs)}
        return made | {f"c{number}": pattern for number, pattern in enumerate(self.control)}

    @property
    def folder_ports(self):
        return {name for name, pattern in self.ports.items() if pattern.endswith("/")} | self.folders

    def source(self):
        plan = {
            "folders": sorted(self.folder_ports), "names": self.names, "extras": self.extras,
            "link": self.link, "fails": self.fails,
        }  # fmt: skip
        return SCRIPT.format(
            plan=json.dumps(plan),
            inputs="{"
            + ", ".join(f"'i{number}': {python(port)}" for number, port in enumerate(self.inputs))
            + "}",
            by=self.by,
            partial=self.partial,
            outputs={name: pattern for name, pattern in self.ports.items() if name[0] == "o"},
            control={name: pattern for name, pattern in self.ports.items() if name[0] == "c"},
        )

    def toml(self, label):
        kind = {name: "d" if name in self.folder_ports else "f" for name in self.ports}
        words = [
            *(f"{kind[name]}:{{{'output' if name[0] == 'o' else 'control'}.{name}}}" for name in self.ports)
        ]
        inputs = ", ".join(f"i{number} = {toml(port)}" for number, port in enumerate(self.inputs))
        parts = {"outputs": "o", "control": "c"}
        tables = {
            part: ", ".join(
                f"{name} = {pattern!r}" for name, pattern in self.ports.items() if name[0] == letter
            )
            for part, letter in parts.items()
        }
        command = f"{sys.executable} -S ../put.py {label} '' {{id}} {' '.join(words)}"
        text = f'[steps.{label}]\ncommand = """{command}"""\ninputs = {{{inputs}}}\n'
        if self.by is not None:
            text += f"by = {json.dumps(self.by)}\npartial = {json.dumps(self.partial)}\n"
        return text + "".join(f"{part} = {{{ports}}}\n" for part, ports in tables.items() if ports)


def python(port):
    """An input as a script writes it."""
    if port[0] == "?":
        return f"optional({port[1:]!r})"
    return f"any_of({', '.join(map(repr, port.split('|')))})" if "|" in port else repr(port)


def toml(port):
    """An input as the `workspace.toml` writes it."""
    if port[0] == "?":
        return f"{{path = {port[1:]!r}, optional = true}}"
    return f"{{any_of = {port.split('|')!r}}}" if "|" in port else repr(port)


@dataclass(frozen=True, repr=False)
class Layout(Short):
    """A workspace with its files and links, and what is done on it."""

    steps: tuple[Step, ...]
    ids: tuple[str, ...]
    files: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    outputs_apart: bool = False
    follow_links: bool = False
    tasks: bool = False
    id_pattern: str = r"R[^/]*"
    mode: str = "main_process"
    actions: tuple[tuple[str, ...], ...] = (("run",), ("force",))


PATTERN = st.sampled_from([one for one in PATTERNS if "{id}" in one] * 3 + PATTERNS)
LIKELY_INPUT = st.sampled_from([one for one in PATTERNS if one.startswith(("raw", "view", "{id}/eeg"))])
LIKELY_OUTPUT = st.sampled_from([one for one in PATTERNS if one.startswith(("out", "deriv", "{id}/done"))])
STEP = st.builds(
    Step,
    inputs=st.lists(LIKELY_INPUT | PATTERN, min_size=1, max_size=2).map(tuple),
    outputs=st.lists(LIKELY_OUTPUT | PATTERN, min_size=1, max_size=2, unique=True).map(tuple),
    control=st.just(()) | st.lists(LIKELY_OUTPUT | PATTERN, max_size=1).map(tuple),
    folders=st.frozensets(st.just("o0"), max_size=1),
    names=st.lists(st.sampled_from(["one.txt", "notes.txt", "sub.txt"]), min_size=1, max_size=2).map(tuple),
    extras=st.lists(st.sampled_from(EXTRAS), max_size=2).map(tuple) | st.just(()),
    link=st.sampled_from(["", "", "symlink", "hardlink"]),
    fails=st.sampled_from([False, False, True]),
    is_command=st.sampled_from([False, False, False, True]),
)
FILE = st.builds(str.format, st.sampled_from(FILES), st.sampled_from(IDS))
LINK = st.sampled_from([name for name in LINKS if not name.startswith("LOG/")] * 4 + list(LINKS))
ACTION = st.one_of(
    st.sampled_from([("run",), ("first",), ("force",), ("stale",), ("watch",), ("gc",)]),
    st.tuples(st.sampled_from(["force-step"]), st.sampled_from(["a", "b", "c"])),
    st.tuples(st.sampled_from(["put", "edit", "delete"]), FILE),
)
WILD_INPUT = st.sampled_from(WILDCARDS)
GROUP_INPUT = st.one_of(
    LIKELY_INPUT,
    PATTERN,
    WILD_INPUT,
    LIKELY_INPUT.map("?{}".format),
    st.tuples(LIKELY_INPUT, WILD_INPUT | PATTERN).map("|".join),
)


def grouped(by, outputs):
    """A step with a row per group; most of its outputs lie apart from those of other steps."""
    some = st.sampled_from([*outputs[:3] * 3, *outputs])
    return st.builds(
        replace,
        STEP,
        inputs=st.lists(GROUP_INPUT, min_size=1, max_size=2).map(tuple),
        outputs=st.lists(some, min_size=1, max_size=1).map(tuple)
        | st.lists(some, min_size=2, max_size=2).map(tuple),
        control=st.just(()) | st.lists(some, max_size=1).map(tuple),
        by=st.just(by),
        partial=st.booleans(),
    )


GROUP_STEP = grouped(("first",), GROUP_OUTPUTS) | grouped((), ALL_OUTPUTS)
WILD_STEP = st.builds(
    replace,
    STEP,
    inputs=st.lists(
        WILD_INPUT | st.tuples(LIKELY_INPUT, WILD_INPUT).map("|".join), min_size=1, max_size=2
    ).map(tuple),
    outputs=st.lists(LIKELY_OUTPUT, min_size=1, max_size=1).map(tuple),
)
KILL = st.tuples(st.sampled_from(["killed", "killed-force"]), st.integers(1, 60))
LAYOUT = st.builds(
    Layout,
    steps=st.lists(STEP, min_size=1, max_size=1).map(tuple)
    | st.lists(STEP, min_size=1, max_size=3).map(tuple),
    ids=st.lists(st.sampled_from(IDS), min_size=1, max_size=3, unique=True).map(tuple),
    files=st.lists(FILE, max_size=5, unique=True).map(tuple),
    links=st.just(()) | st.lists(LINK, max_size=2, unique=True).map(tuple),
    outputs_apart=st.sampled_from([False, False, False, True]),
    follow_links=st.booleans(),
    tasks=st.sampled_from([False, False, False, True]),
    id_pattern=st.sampled_from([r"R[^/]*", r"R\d", r"\w+"]),
    actions=st.lists(ACTION, max_size=3).map(lambda some: (*some[:1], ("run",), *some[1:], ("force",))),
)
GROUPED_LAYOUT = st.builds(
    replace,
    LAYOUT,
    steps=st.tuples(STEP | WILD_STEP, GROUP_STEP)
    | st.tuples(GROUP_STEP | WILD_STEP)
    | st.tuples(STEP, WILD_STEP),
    id_pattern=st.sampled_from([r"(?P<first>R.)[^/]*", r"(?P<first>R\d)", r"(?P<first>\w)\w*"]),
    tasks=st.just(False),
)


# -- what is compared ---------------------------------------------------------------------------------------------


@dataclass
class Row:
    """A row of a step: what it declares, with links resolved."""

    key: tuple
    inputs: list[str]
    declared: set[str] = field(default_factory=set)
    files: set[str] = field(default_factory=set)
    folders: set[str] = field(default_factory=set)
    is_refused: bool = False

    @property
    def outputs(self):
        return self.files | self.folders


class Ground:
    """A layout on a disk, and what each of its files was before."""

    def __init__(self, folder, layout):
        self.folder, self.layout = folder, layout
        self.data = folder / "dataset"
        self.outputs = folder / "made" if layout.outputs_apart else self.data
        self.made = {}
        for path in (self.data, folder / "vault", folder / "scripts"):
            path.mkdir(parents=True)
        for name in layout.links:
            with contextlib.suppress(FileExistsError, NotADirectoryError):
                link = (self.outputs if name.startswith("LOG/") else self.data) / name
                link.parent.mkdir(parents=True, exist_ok=True)
                if link.suffix != ".csv":
                    (link.parent / LINKS[name]).mkdir(parents=True, exist_ok=True)
                link.symlink_to(LINKS[name])
        made = {pattern for step in layout.steps for pattern in step.ports.values()}
        for step, record in itertools.product(layout.steps, layout.ids):
            for pattern in step.input_patterns:
                if pattern not in made or pattern in step.ports.values():
                    name = pattern.replace("**", "deep").replace("*", "x")
                    for placeholder, value in self.values(record).items():
                        name = name.replace(placeholder, value)
                    self.put(name + ("x.txt" if pattern.endswith("/") else ""))
        for name in layout.files:
            self.put(name)
        self.labels = ["a", "b", "c"][: len(layout.steps)]
        self.write()

    def write(self):
        layout, folder = self.layout, self.folder
        head = f"[records]\nid_pattern = '{layout.id_pattern}'\n"
        head += f"[run]\nmode = '{layout.mode}'\nworkers = 2\n[path]\n"
        head += f"follow_links = {str(layout.follow_links).lower()}\n"
        head += "outputs = 'made'\n" if layout.outputs_apart else ""
        commands = ""
        scripts = folder / "scripts" / ("M" if layout.tasks else "")
        scripts.mkdir(exist_ok=True)
        (folder / "put.py").write_text(COMMAND)
        for label, step in zip(self.labels, layout.steps, strict=True):
            if step.is_command and not layout.tasks:
                commands += step.toml(label)
            else:
                (scripts / f"{label}.py").write_text(step.source())
        if layout.tasks:
            head += "[tasks.T1]\nmodalities = ['M']\n[tasks.T2]\nmodalities = ['M']\n"
            head += f"[modalities.M]\nscripts = {self.labels}\n"
        else:
            head += f"[steps]\nscripts = {self.labels}\n"
        (folder / "workspace.toml").write_text(head + commands)

    def put(self, name, text="a person's"):
        """Write a file as a person does, where that is possible."""
        path = self.data / name
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            os.utime(path, (1_600_000_000, 1_600_000_000))
            self.made.pop(real(path), None)

    # -- what a run may do

    def ids(self):
        """Every id that a pattern finds in the tree."""
        paths = [
            os.path.relpath(path, root) + "/" * Path(path).is_dir()
            for root in {self.data, self.outputs}
            for path in walk(root)
        ]
        found = {record for record in IDS if re.fullmatch(self.layout.id_pattern, record)}
        for step in self.layout.steps:
            for pattern in (*step.input_patterns, *step.ports.values()):
                if "{id}" in pattern:
                    unnamed = re.sub(r"\?P<\w+>", "", self.layout.id_pattern)
                    text = wildcards(pattern).replace(r"\{first\}", "[^/]*")
                    whole = re.compile(text.replace(r"\{id\}", f"(?P<id>{unnamed})") + "/?")
                    found.update(hit["id"] for path in paths if (hit := whole.fullmatch(path)))
        return sorted(found)

    def values(self, record):
        """What stands for the placeholders of a record."""
        hit = re.fullmatch(self.layout.id_pattern, record)
        first = hit["first"] if hit and "first" in hit.groupdict() else record
        return {"{id}": record, "{first}": first}

    def units(self, step):
        """Every row of a step without its task: its id, and the records that it reads."""
        records = {record: [record] for record in self.ids()}
        if step.by is None:
            return records
        groups = {}
        for record in records:
            first = self.values(record)["{first}"]
            groups.setdefault(f"first={first}" if step.by else "dataset=all", []).append(record)
        return groups

    def found(self, pattern, record, names):
        """The paths that an input of a record names; all the files that a wildcard finds."""
        if "*" not in pattern:
            return [fill(self.data, pattern, self.values(record))]
        text = wildcards(pattern.rstrip("/"))
        for placeholder, value in self.values(record).items():
            text = text.replace(re.escape(placeholder), re.escape(value))
        whole = re.compile(text)
        return [real(f"{self.data}/{name}") for name in names if whole.fullmatch(name)]

    def rows(self):
        """Every row that there can be, with what the layout refuses of it."""
        rows = []
        tasks = ["T1", "T2"] if self.layout.tasks else [None]
        names = [os.path.relpath(path, self.data) for path in walk(self.data)]
        for label, step in zip(self.labels, self.layout.steps, strict=True):
            for (record, members), task in itertools.product(self.units(step).items(), tasks):
                inputs = itertools.product(step.input_patterns, members)
                row = Row((label, task, record), [path for one in inputs for path in self.found(*one, names)])
                for name, pattern in step.ports.items():
                    values = self.values(members[0])
                    path = fill(self.outputs, pattern, values)
                    row.declared.add(path)
                    if path == beyond_literal(
                        self.outputs, pattern, values
                    ):  # else it is behind another link
                        (row.folders if name in step.folder_ports else row.files).add(path)
                rows.append(row)
        refused = self.refused(rows)
        for row in rows:
            row.is_refused = row.key[0] in refused
        return rows

    def refused(self, rows):
        """The steps of which an output is or holds a raw input, or lies in an output of another step."""
        makers = {}
        for row in rows:
            for path in row.declared:
                makers.setdefault(path, set()).add(row.key[0])
        raw = set()
        for row in rows:
            for path in row.inputs:
                steps = set().union(*(steps for made, steps in makers.items() if holds(made, path)))
                if not steps - {row.key[0]} or self.outputs != self.data:
                    raw.add(path)
        held = set()
        for (one, steps), (path, others) in itertools.product(makers.items(), repeat=2):
            if holds(path, one) and len(steps | others) > 1:
                held |= steps | others
        return held | {
            step for path, steps in makers.items() for step in steps if any(holds(path, one) for one in raw)
        }

    # -- comparing

    def state(self):
        """Every file, link and folder of the workspace; of LOG only the links that the layout made."""
        found = {}
        for path in walk(self.folder):
            if "/__pycache__" in path:
                continue
            about = os.lstat(path)
            if self.is_log(path) and os.path.relpath(path, self.outputs) not in self.layout.links:
                continue
            if stat.S_ISLNK(about.st_mode):
                found[path] = ("link", str(Path(path).readlink()), about.st_ino)
            elif stat.S_ISDIR(about.st_mode):
                found[path] = ("folder", stat.S_IMODE(about.st_mode))
            else:
                text = Path(path).read_bytes()
                found[path] = ("file", text, stat.S_IMODE(about.st_mode), about.st_mtime_ns, about.st_ino)
        return found

    def is_log(self, path):
        return holds(f"{self.outputs}/LOG", path)

    def compare(self, before, rows):
        """What is wrong with the files after something was done, a sentence each."""
        after = self.state()
        known = {row.key: row for row in rows}
        folders = {path for row in rows if not row.is_refused for path in row.folders}
        faults = []
        for path, old in before.items():
            new = after.get(path)
            if new == old or (old[0] == "folder" and any(holds(one, path) for one in folders)):
                continue
            if not self.may_change(path, new, known):
                faults.append(f"{self.named(path)}: {shown(old)} -> {shown(new)}")
        for path, new in after.items():
            if path not in before and not self.may_appear(path, new):
                faults.append(f"{self.named(path)} appeared: {shown(new)}")
        for path, new in after.items():
            if new != before.get(path) and (key := owner(new) or self.linked(path, new, rows)):
                self.made[path] = key
        self.made = {path: key for path, key in self.made.items() if path in after}
        return faults

    def may_change(self, path, new, known):
        if new is None:  # a row that replaces its folder drops what it made itself
            row = known.get(self.made.get(path))
            return row is not None and not row.is_refused and any(holds(one, path) for one in row.folders)
        if new[0] == "folder":  # a script writes a folder where its declared output was a file
            return any(path in row.folders and not row.is_refused for row in known.values())
        key = owner(new) or (self.made.get(path) if new[0] == "link" else None)
        row = known.get(key)
        if row is None or row.is_refused:
            return self.is_copy(path, new, known)
        return (
            path in row.outputs or self.made.get(path) == key or any(holds(one, path) for one in row.folders)
        )

    @staticmethod
    def linked(path, new, rows):
        """The row in whose folder a script left a link."""
        if new[0] != "link":
            return None
        return next((row.key for row in rows if any(holds(one, path) for one in row.folders)), None)

    @staticmethod
    def is_copy(path, new, known):
        """Whether a declared output holds what its row linked to."""
        return new[0] == "file" and any(path in row.outputs and not row.is_refused for row in known.values())

    def may_appear(self, path, new):
        """New files lie below the outputs, or behind a link to a literal folder; never in what LOG links to."""
        into = [self.outputs]
        into += [os.path.realpath(self.data / name) for name in ("raw", "out") if name in self.layout.links]
        logs = [name for name in self.layout.links if name.startswith("LOG/")]
        if logs and "raw" not in self.layout.links:
            into = [one for one in into if not holds(real(self.folder / "vault"), str(one))]
        return any(holds(str(one), path) for one in into) or (
            new[0] == "folder" and path == str(self.outputs)
        )

    def named(self, path):
        return os.path.relpath(path, self.folder)


def walk(root):
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            yield f"{folder}/{name}"


def real(path):
    """A path with the links of its folders resolved, not its own."""
    head, tail = os.path.split(os.path.normpath(path))
    return f"{os.path.realpath(head)}/{tail}"


def wildcards(pattern):
    """A pattern as a regular expression; its placeholders stay, escaped."""
    text = re.escape(pattern).replace(r"\*\*/", "(?:[^/]+/)*").replace(r"\*\*", ".*")
    return re.sub(r"(?<!\.)\\\*", "[^/]*", text)


def fill(root, pattern, values):
    path = pattern.rstrip("/")
    for placeholder, value in values.items():
        path = path.replace(placeholder, value)
    return real(f"{root}/{path}")


def beyond_literal(root, pattern, values):
    """A filled path with the links of its literal folders resolved, and no others."""
    literal = pattern.rstrip("/").partition("{")[0]
    folder, _, name = literal.rpartition("/")
    rest = f"{name}{pattern.rstrip('/')[len(literal) :]}"
    for placeholder, value in values.items():
        rest = rest.replace(placeholder, value)
    return f"{os.path.realpath(f'{root}/{folder}')}/{rest}"


def holds(folder, path):
    return path == folder or path.startswith(f"{folder}/")


def owner(state):
    """The row that wrote a file; None for any other."""
    if state is None or state[0] != "file" or not state[1].startswith(b'["MADE"'):
        return None
    return tuple(json.loads(state[1].splitlines()[0])[1:4])


def shown(state):
    if state is None:
        return "gone"
    return " ".join(str(one) for one in (state[0], *state[1:2], *(oct(mode) for mode in state[2:3])))


# -- what is done -------------------------------------------------------------------------------------------------


def act(ground, action):
    """Do one thing, as a person or through the public API; a refusal is an answer, too."""
    verb, *words = action
    if verb in {"put", "edit"}:
        ground.put(words[0], f"a person's, {verb}")
    elif verb == "delete":
        with contextlib.suppress(OSError):
            (ground.data / words[0]).unlink()
    else:
        with contextlib.suppress(SinagotError):
            run(Workspace(ground.folder), verb, *words)


def run(ws, verb, step=None):
    if verb == "watch":
        for _ in itertools.islice(ws.steps.watch(interval=0.01, stable_for=0.01, once=True, submit=False), 3):
            pass
    elif verb == "gc":
        ws.gc(older_than="0d")
    else:
        is_forced, limit = verb.startswith("force"), 1 if verb == "first" else None
        ws.steps.run(step, force=is_forced, stale=verb == "stale", limit=limit, progress=False)


def check(folder, layout, do=act):
    """Do all that a layout says, and compare the files after each."""
    ground = Ground(folder, layout)
    for action in layout.actions:
        rows, before = ground.rows(), ground.state()
        do(ground, action)
        if action[0] not in {"put", "edit", "delete"}:
            faults = ground.compare(before, rows)
            assert not faults, f"{action}: " + "; ".join(faults)


@pytest.fixture
def generate(request, tmp_path, share):
    """Check generated layouts: `generate(layouts, all_of_them, part)`; how many is said by `share`."""

    def generated(layouts, all_of_them, part, do=act):
        failed, until = {}, []

        def one(layout):
            if until and time.monotonic() > until[0]:  # enough of making a failure smaller
                assert layout not in failed, failed[layout]
                return
            try:
                with tempfile.TemporaryDirectory(dir=tmp_path) as folder:
                    check(Path(folder), layout, do)
            except AssertionError as error:
                failed[layout] = str(error)
                until.append(time.monotonic() + 60)
                raise

        test = given(layouts)(one)
        test = seed(request.config.getoption("seed", 1))(test)
        settings(
            max_examples=share(all_of_them, part),
            deadline=None,
            database=None,
            suppress_health_check=[HealthCheck.too_slow],
        )(test)()

    return generated


@pytest.mark.slow
def test_no_raw_file_is_lost(generate):
    generate(LAYOUT, 100, 5)


@pytest.mark.slow
def test_no_raw_file_is_lost_by_groups_and_wildcards(generate):
    generate(GROUPED_LAYOUT, 60, 2)


KNOWN = {
    "a folder output that holds an input": Layout(
        (Step(("{id}/eeg/raw.csv",), ("{id}/eeg/", "{id}/done.txt")),), ("R1", "R2")
    ),
    "the same by a command": Layout(
        (Step(("{id}/eeg/raw.csv",), ("{id}/eeg/", "{id}/done.txt"), is_command=True),), ("R1", "R2")
    ),
    "a folder output that is the input": Layout((Step(("raw/{id}/",), ("raw/{id}/",)),), ("R1",)),
    "a folder control that holds an input": Layout(
        (Step(("raw/{id}/a.csv",), ("out/{id}.csv",), ("raw/{id}/",)),), ("R1",)
    ),
    "one output in another": Layout(
        (Step(("raw/{id}.csv",), ("deriv/{id}/",)), Step(("raw/{id}.csv",), ("deriv/{id}/b.txt",))),
        ("R1",),
        actions=(("run",), ("force-step", "b"), ("force-step", "a")),
    ),
    "notes in a folder output": Layout(
        (Step(("raw/{id}.csv",), ("deriv/{id}/",)),),
        ("R1",),
        actions=(("run",), ("put", "deriv/R1/notes.txt"), ("force",), ("edit", "raw/R1.csv"), ("stale",)),
    ),
    "notes in a folder output before the first run": Layout(
        (Step(("raw/{id}.csv",), ("deriv/{id}/", "out/{id}.csv")),), ("R1",), ("deriv/R1/notes.txt",)
    ),
    "an output that is the input": Layout((Step(("raw/{id}.csv",), ("raw/{id}.csv",)),), ("R1",)),
    "an undeclared file over raw data": Layout(
        (Step(("raw/{id}.csv",), ("raw/{id}/a.csv",), extras=("../R2.csv", "../participants.tsv")),),
        ("R1", "R2"),
        ("raw/participants.tsv",),
    ),
    "rows that append to one file": Layout(
        (Step(("raw/{id}.csv",), ("out/{id}.csv",), extras=("all.csv",)),),
        ("R1", "R2", "R1_clean"),
        actions=(("first",), ("run",), ("force",)),
    ),
    **{
        f"a link at {name}": Layout(
            (Step(("raw/{id}.csv",), ("out/{id}.csv",)),),
            ("R1",),
            ("../vault/R1/notes.txt", "../vault/a.csv"),
            (name,),
            actions=(("run",), ("force",), ("gc",)),
        )
        for name in LINKS
        if name.startswith("LOG/")
    },
    "an output that is an input behind a link": Layout(
        (Step(("raw/{id}.csv",), ("view/{id}.csv",)),), ("R1",), links=("view",)
    ),
    "a folder output behind a link": Layout(
        (Step(("raw/{id}/a.csv",), ("view/{id}/",)),), ("R1",), links=("view",)
    ),
    "a record's folder that is a link to raw data": Layout(
        (Step(("raw/{id}.csv",), ("deriv/{id}/b.txt",)),),
        ("R1",),
        ("raw/b.txt",),
        ("deriv/R1",),
        follow_links=True,
    ),
    "a folder with notes where a file shall be": Layout(
        (Step(("raw/{id}.csv",), ("out/{id}.csv",)),), ("R1",), ("out/R1.csv/notes.txt",)
    ),
    "an output that is a link to the input": Layout(
        (Step(("raw/{id}.csv",), ("out/{id}.csv",), link="symlink"),), ("R1",)
    ),
    "an output that is a second name of the input": Layout(
        (Step(("raw/{id}.csv",), ("out/{id}.csv",), link="hardlink"),), ("R1",)
    ),
    "an output named as raw data are": Layout(
        (Step(("raw/{id}.csv",), ("raw/{id}_clean.csv",)),), ("R1", "R1_clean"), id_pattern=r"\w+"
    ),
}


@pytest.mark.parametrize("name", KNOWN)
def test_raw_data_stay_as_they_are_with(name, tmp_path):
    check(tmp_path, KNOWN[name])


@pytest.fixture
def kill(tmp_path):
    """Run in a process of its own that is killed at its n-th change of the disk."""
    (tmp_path / "fork.py").write_text(FORK)
    command = [sys.executable, tmp_path / "fork.py"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:

        def do(ground, action):
            if not action[0].startswith("killed"):
                return act(ground, action)
            process.stdin.write(
                json.dumps([str(ground.folder), action[0] == "killed-force", action[1]]) + "\n"
            )
            process.stdin.flush()
            assert process.stdout.readline().strip() in {"0", "9", "256"}
            return None

        yield do
        process.stdin.close()
        process.wait(300)


def killed(layout):
    """A layout whose runs are killed."""
    return st.lists(KILL | ACTION, min_size=1, max_size=3).map(
        lambda some: replace(layout, actions=(*some, ("run",), ("force",)))
    )


@pytest.mark.slow
@pytest.mark.parametrize(("layouts", "part"), [(LAYOUT, 2), (GROUPED_LAYOUT, 1)], ids=["steps", "groups"])
def test_no_raw_file_is_lost_when_a_run_is_killed(generate, kill, layouts, part):
    generate(layouts.flatmap(killed), 20 * part, part, do=kill)


POINTS = [
    f"{point}:{count}:{whom}"
    for point in ("before-publishing", "after-publishing-line", "between-publishes", "after-rename")
    for count, whom in ((1, "self"), (2, "all"), (3, "parent"))
]
BUSY = Layout(
    (
        Step(
            ("raw/{id}.csv",),
            ("out/{id}.csv", "deriv/{id}/"),
            extras=("notes.txt",),
            names=("one.txt", "a.csv"),
        ),
        Step(("deriv/{id}/",), ("{id}/done.txt",), ("{id}/eeg/",), extras=("../participants.tsv",)),
    ),
    ("R1", "R2", "R-é 3"),
    ("deriv/R2/notes.txt", "out/R1/notes.txt", "R1/notes.txt", "R2/eeg/raw.csv"),
)


def command(ground, action):
    """Do it by the command, in processes that are killed at a named point."""
    verb, *words = action
    if verb == "put":
        return act(ground, action)
    struck = (
        {"FAULT": words[0], "FAULT_ROLE": "worker", "FAULT_DONE": str(ground.folder / "struck")}
        if words
        else {}
    )
    words = ["gc", "--keep", "0d"] if verb == "gc" else ["run", *(["--force"] if verb == "force" else [])]
    done = subprocess.run(
        [sys.executable, "-m", "sinagot_catalog", *words, str(ground.folder)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent / "shim"), "NO_COLOR": "1", **struck},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    (ground.folder / "struck").unlink(missing_ok=True)
    assert "Traceback" not in done.stderr, done.stderr
    return None


def in_processes(point):
    put = ("put", "deriv/R1/notes.txt")
    actions = (("run", point), ("run",), put, ("force", point), ("force",), ("gc",))
    return replace(BUSY, mode="processes", actions=actions)


@pytest.mark.slow
def test_no_raw_file_is_lost_by_the_command_and_its_workers(generate):
    generate(st.sampled_from(POINTS).map(in_processes), 3, 0.1, do=command)
