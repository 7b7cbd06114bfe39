"""The tools that are measured side by side, each as its own documents start it.

What a tool needs in its folder lies in `benchmarks/tools/<name>`. All of them count the lines of N small files.
For the pipeline, the files in `benchmarks/pipelines/<name>` come on top of these. A `prepare.py` brings the data
into the tool's own shape, unmeasured.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

__all__ = ["OURS", "PIPELINE", "SINGLE", "TASKS", "TOOLS", "Task", "Tool", "Work"]

Task = Literal["list", "status", "run", "again"]
TASKS: tuple[Task, ...] = get_args(Task)

_FILES = Path(__file__).parent


@dataclass(frozen=True)
class Work:
    """What all tools do.

    Attributes:
        name: Its folder in the cache.
        title: What a record takes.
        steps: Names of the steps that each record passes.
        group: How many records a group has, where a last step adds up each group.
    """

    name: str
    title: str
    steps: tuple[str, ...]
    group: int | None = None

    def rows(self, records: int) -> int:
        """How many outputs there are in the end."""
        return records * len(self.steps) + len(self.groups(records))

    def groups(self, records: int) -> list[str]:
        """The names of the groups, which are the first characters of their records."""
        return [f"REC-{number:04d}" for number in range(-(-records // self.group))] if self.group else []


SINGLE = Work("single", "one step of each record", ("out",))
PIPELINE = Work(
    "pipeline",
    "ten steps of each record, then one step of each group of 100 records",
    tuple(f"s{number:02}" for number in range(1, 11)),
    100,
)


@dataclass(frozen=True)
class Tool:
    """One tool, and how it is asked.

    Attributes:
        name: As its users write it.
        does: The command of each task, with the tool's own environment first on the PATH.
        way: How it runs a small Python function for each record.
        beside: What else it does in that time, or does not do: for a fair look at its figures.
        lacks: Why there is no command of a task.
        requires: What pip installs into its environment; the first is the tool.
        pythons: Versions of Python that it runs on, where it does not run on ours.
        program: A program of the machine that it is, where pip has none; asked for its `--version`.
        halve: Makes it forget what it did of every other record, where it does not look at the outputs.
        output: Where the output of an input lies, by `{folder}` and `{stem}` of the input, and `{step}`.
        inputs: Where the inputs lie once they are prepared.
        remembers: Whether it calls a row done only when it did the row itself.
        needs_database: Whether it talks to a MariaDB server, which is started for it.
        files: What is copied into its folder.
    """

    name: str
    does: Mapping[Task, tuple[str, ...]]
    way: str
    beside: str
    lacks: Mapping[Task, str] = field(default_factory=dict)
    requires: tuple[str, ...] = ()
    pythons: tuple[str, ...] = ()
    program: str = ""
    halve: tuple[str, ...] = ()
    output: str = "dataset/{step}/{stem}.txt"
    inputs: str = "dataset/raw/*.csv"
    remembers: bool = False
    needs_database: bool = False
    files: Path | None = None

    def folders(self, work: Work) -> list[Path]:
        """The files that it needs, later ones over earlier ones."""
        name = self.name.replace("-", "_")
        found = [self.files or _FILES / "tools" / name]
        if work is PIPELINE:
            found.append(_FILES / "pipelines" / name)
        return [one for one in found if one.is_dir()]


_ONLY_LISTS = "it lists files, and has no notion of a step or its output"

OURS = Tool(
    name="sinagot-catalog",
    does={
        "list": ("sinagot-catalog", "ls", "records", "--columns", "record_id", "--csv"),
        "status": ("sinagot-catalog", "ls", "steps", "--columns", "record_id,step,status", "--csv"),
        "run": ("sinagot-catalog", "run", "--quiet"),
        "again": ("sinagot-catalog", "run", "--quiet"),
    },
    way="a method called in a worker process, two of them on two cores",
    beside="outputs appear whole or not at all, a journal of each row, claims against other runs",
)

TOOLS: tuple[Tool, ...] = (
    OURS,
    Tool(
        name="sinagot",
        requires=("sinagot==0.2.6", "pandas>=1.5,<2", "numpy<2"),
        pythons=("3.8", "3.9"),
        does={
            "list": ("python3", "batch.py", "list"),
            "status": ("python3", "batch.py", "status"),
            "run": ("python3", "batch.py", "run"),
            "again": ("python3", "batch.py", "run"),
        },
        way="a method called in the one process",
        beside="a log file per record",
    ),
    Tool(
        name="snakemake",
        requires=("snakemake",),
        does={
            "list": ("python3", "ids.py"),
            "status": ("snakemake", "--summary"),
            "run": ("snakemake", "--cores", "2", "--quiet", "all"),
            "again": ("snakemake", "--cores", "2", "--quiet", "all"),
        },
        way="a shell command that starts Python, two at once; its `run:` block starts all of snakemake per record",
        beside="provenance of each output (code, inputs, parameters), locks, any cluster",
    ),
    Tool(
        name="signac-flow",
        requires=("signac-flow", "signac"),
        does={
            "list": ("python3", "ids.py"),
            "status": ("python3", "project.py", "status", "--full", "--hide-progress"),
            "run": ("python3", "project.py", "run"),
            "again": ("python3", "project.py", "run"),
        },
        way="a function called in the one process",
        beside="its data lies in a job folder per record, made before the clock starts",
        inputs="workspace/*/raw.csv",
        output="{folder}/{step}.txt",
    ),
    Tool(
        name="doit",
        requires=("doit",),
        does={
            "list": ("doit", "list", "--all"),
            "status": ("doit", "list", "--all", "--status"),
            "run": ("doit",),
            "again": ("doit",),
        },
        way="a function called in the one process",
        beside="keeps a checksum of each input, calls done only what it did itself",
        remembers=True,
    ),
    Tool(
        name="make",
        program="make",
        does={
            "list": ("make", "list"),
            "status": ("make", "--dry-run"),
            "run": ("make", "--jobs=2"),
            "again": ("make", "--jobs=2"),
        },
        way="a shell command that starts Python, two at once",
        beside="its status names only what is to be done, and it compares times",
    ),
    Tool(
        name="bids2table",
        requires=("bids2table",),
        does={"list": ("python3", "ids.py")},
        lacks=dict.fromkeys(("status", "run", "again"), _ONLY_LISTS),
        way="none",
        beside="reads names of BIDS only, so its files lie in two folders per record",
        inputs="dataset/sub-*/eeg/*.edf",
    ),
    Tool(
        name="datachain",
        requires=("datachain",),
        does={
            "list": ("python3", "ids.py"),
            "run": ("python3", "count.py"),
            "again": ("python3", "count.py"),
        },
        lacks={"status": "it knows files that exist, not outputs that are expected"},
        way="a function called in the one process",
        beside="keeps a version of the dataset with the function's values in a database",
    ),
    Tool(
        name="datajoint",
        requires=("datajoint", "pymysql"),
        needs_database=True,
        does={
            "list": ("python3", "ids.py"),
            "status": ("python3", "status.py"),
            "run": ("python3", "run.py"),
            "again": ("python3", "run.py"),
        },
        halve=("python3", "halve.py"),
        way="a function called in two processes, which write each value into a database",
        beside="a transaction of each row; the figures leave out what the database's server uses; "
        "the ids are in the database before the clock starts",
        remembers=True,
    ),
)
