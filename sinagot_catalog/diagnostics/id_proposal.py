"""Id proposals: finds records in the names of files, and proposes an id pattern and a workspace for them."""

from __future__ import annotations

import json
import os
import re
from itertools import chain, count, groupby, pairwise
from typing import TYPE_CHECKING

from sinagot_catalog.config import count_of
from sinagot_catalog.errors import NotFoundError, PatternError, did_you_mean
from sinagot_catalog.patterns import IdPattern, fault_of, parse_template, tokens_regex
from sinagot_catalog.startup import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from sinagot_catalog.patterns import Template

_MOST = 200_000
_SHAPES = 3
_GENERAL = (r"[\w-][\w.-]*", r"[\w.-]+", "[^/.][^/]*", "[^/]+")
"""Id patterns of names that have no common form; the name of a hidden file fits only if there is no other way."""
_SEPARATORS = ("_", "__", "~", "+", "=")
_HEADER = 10_000
"""Number of characters of a table's first line that are read."""
_FOLDER = (
    "Name the folder of the files: sinagot-catalog init FOLDER --from-files PATTERN. For a workspace elsewhere, "
    "run init there, and write that folder into path.dataset."
)


@dataclass(frozen=True)
class ScanResult:
    """The result of matching files with a pattern.

    Attributes:
        template: The pattern.
        dataset: The folder of the files, as in the config.
        rows: The values of its placeholders, one row per file.
        id_pattern: The proposed id pattern.
        ids: The ids, sorted.
        metadata: The table of participants of a BIDS dataset, as in the config; empty if there is none.
    """

    template: Template
    dataset: str
    rows: list[dict[str, str]]
    id_pattern: str
    ids: list[str]
    metadata: str

    def values(self, name: str) -> list[str]:
        """Return the values of a placeholder, sorted."""
        return sorted({row[name] for row in self.rows if row.get(name)})

    @property
    def units(self) -> dict[str, list[str]]:
        """Return the modalities of each task; none if the pattern has no `{task}` and no `{modality}`."""
        if {"task", "modality"}.isdisjoint(self.template.fields):
            return {}
        folders = [part[0][1] for part in self.template.parts[:-1] if len(part) == 1 and part[0][0] == "text"]
        own = re.sub(r"\W", "", folders[-1]) if folders else ""
        units: dict[str, set[str]] = {}
        for row in self.rows:
            units.setdefault(row.get("task", ""), set()).add(row.get("modality", own or "data"))
        return {task: sorted(units[task]) for task in sorted(units)}


def find_records(folder: Path, pattern: str) -> ScanResult:
    """Find the records of the files that fit a pattern.

    Raises:
        NotFoundError: When no file fits; names a similar one.
        PatternError: When the pattern cannot be used.
    """
    if pattern.startswith(("/", "~")) or ".." in pattern.split("/"):
        raise PatternError(
            f"--from-files takes a path below the folder of the files, not {pattern!r}",
            _FOLDER,
        )
    names = dict(re.findall(r"\{(\w+)(\??)\}", pattern))
    fields = [name for name in names if name not in ("id", "task", "modality")]
    if "id" not in names and all(names[name] for name in fields):
        starred = re.sub("[*]+", "{id}", pattern, count=1)
        instead = f": {starred!r}" if "*" in pattern else ", or its fields, such as {day}/{shot}"
        raise PatternError(
            f"--from-files: {pattern!r} has no {{id}}", f"Write {{id}} where the record's id stands{instead}."
        )
    if re.search(r"(?<!\\)\*", pattern):
        free = (
            f"{{{name}}}" for name in chain(["part"], map("part{}".format, count(2))) if name not in names
        )
        instead = re.sub(r"(?<!\\)\*+", lambda _: next(free), pattern.replace("{id}", "{name}"))
        raise PatternError(
            f"--from-files: {pattern!r} has a '*'",
            f"Write a field in its place: {instead!r}. The input of a script may have a '*', and then the id does "
            "not need that field.",
        )
    if "id" in names and fields:
        raise PatternError(
            f"--from-files: {pattern!r} has both {{id}} and {{{fields[0]}}}",
            "Write {id} where the record's id stands, or a name for each of its fields, such as {day}/{shot}.",
        )
    template = parse_template(pattern, fields={"id", "task", "modality", *filter(str.isidentifier, names)})
    dataset = (
        "dataset" if (folder / "dataset").is_dir() and not template.prefix.startswith("dataset/") else "."
    )
    paths = list_files(folder / dataset, template.prefix, hidden="/." in f"/{pattern}")
    rows = find_values(paths, template)
    if not rows:
        paths = paths or list_files(folder / dataset)
        near = did_you_mean(pattern, paths, most=1)
        n_files = f"{count_of(len(paths), 'file')} {'is' if len(paths) == 1 else 'are'}"
        hint = f"{n_files} there{_such_as(pattern, paths)}."
        if not paths:
            hint = "The pattern is relative to that folder, and it has no files. " + _FOLDER
        raise NotFoundError(f"--from-files: no file in {folder / dataset} fits {pattern!r}{near}", hint)
    metadata = _participants(folder, dataset, template.prefix)
    if "id" in template.fields:
        ids = sorted({row["id"] for row in rows})
        return ScanResult(template, dataset, rows, propose(ids), ids, metadata)
    return ScanResult(template, dataset, rows, *_of_fields(template, rows), metadata)


def _participants(folder: Path, dataset: str, prefix: str) -> str:
    """Return the path of a BIDS dataset's table of participants, relative to the config; empty if there is none.

    The table is in the dataset, or in a folder that the pattern begins with.
    """
    names = prefix.split("/")[:-1]
    for end in range(len(names) + 1):
        path = folder.joinpath(dataset, *names[:end], "participants.tsv")
        if path.is_file():
            with path.open(encoding="utf-8", errors="replace") as file:
                columns = file.readline(_HEADER).lstrip("\ufeff").strip().split("\t")
            if "participant_id" in columns:
                return path.relative_to(folder).as_posix()
    return ""


def _such_as(pattern: str, paths: list[str]) -> str:
    """Return the end of a sentence: a file, and the pattern to write where files with its ending are deeper."""
    end = pattern.rpartition("}")[2]
    deeper = [path for path in paths if path.count("/") > pattern.count("/") and path.endswith(end)]
    if not deeper:
        return f", such as {paths[0]}" if paths else ""
    *folders, name = pattern.split("/")
    path = min(deeper)
    n_more = path.count("/") - len(folders)
    more = ["{folder}"] if n_more == 1 else [f"{{folder{number}}}" for number in range(1, n_more + 1)]
    longer = "/".join([*folders, *more, name]).replace("{id}", "{name}")
    return f", such as {path}. A placeholder spans no folder: name the folders too, such as {longer!r}"


def no_records(dataset: str) -> ScanResult:
    """Return an empty result, for a workspace whose pattern the user has yet to name."""
    return ScanResult(parse_template("raw/{id}.csv", fields={"id"}), dataset, [], ".+", [], "")


def workspace_files(scan: ScanResult, step: str = "lines") -> dict[str, str]:
    """Return the files of a workspace around existing data, with one step: texts by file name."""
    units = scan.units
    scopes = [f"{{{name}}}" for name in ("task", "modality") if name in scan.template.fields]
    script = _SCRIPT.format(
        path_in=_tuple(scan.template.text), path_out=_tuple(f"{step}/{'_'.join(['{id}', *scopes])}.txt")
    )
    proposed = _PROPOSED.format(n=len(scan.ids), pattern=scan.template.text)
    toml = _TOML.format(
        dataset=scan.dataset,
        outputs=_OUTPUTS if scan.dataset == "." else "",
        proposed=proposed if scan.ids else _NOT_PROPOSED,
        ids=_quoted(scan.id_pattern),
        metadata=_METADATA.format(scan.metadata) if scan.metadata else "",
        steps=_scoped(units, step) if units else _STEPS.format(f'"{step}"' if scan.ids else ""),
    )
    modalities = sorted({name for some in units.values() for name in some})
    scripts = [f"scripts/{modality}/{step}.py" for modality in modalities] or [f"scripts/{step}.py"]
    return {"workspace.toml": toml, **dict.fromkeys(scripts, script)}


def _scoped(units: Mapping[str, Sequence[str]], step: str) -> str:
    """Format the sections of tasks and modalities."""
    lines = []
    for task, modalities in units.items():
        if task:
            names = json.dumps(modalities, ensure_ascii=False)
            lines += [f"[tasks.{_key(task)}]", f"modalities = {names}", ""]
    lines += ["# The scripts of a modality are in its folder below scripts; they run in this order."]
    for modality in sorted({name for some in units.values() for name in some}):
        lines += [f"[modalities.{_key(modality)}]", f'scripts = ["{step}"]', ""]
    return "\n".join(lines).rstrip() + "\n"


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name, ensure_ascii=False)


def _tuple(text: str) -> str:
    """Format a pattern as in a script."""
    parts = ", ".join(json.dumps(part, ensure_ascii=False) for part in text.split("/"))
    return f"({parts})" if "/" in text else parts


def list_files(root: Path, prefix: str = "", *, hidden: bool = False) -> list[str]:
    """List the files under a folder of a dataset, without a journal, and without hidden files unless asked."""
    paths: list[str] = []
    for folder, folders, names in os.walk(root / prefix.rpartition("/")[0]):
        folders[:] = sorted(name for name in folders if (hidden or name[0] != ".") and name != "LOG")
        beside = os.path.relpath(folder, root).replace(os.sep, "/")
        shown = sorted(name for name in names if hidden or name[0] != ".")
        paths += [name if beside == "." else f"{beside}/{name}" for name in shown]
        if len(paths) > _MOST:
            break
    return paths


def find_values(
    paths: Iterable[str], template: Template, kinds: Mapping[str, str] | None = None
) -> list[dict[str, str]]:
    """Find the fitting paths, each as `path` and the values of the placeholders.

    A repeated placeholder has the same text everywhere; if several texts fit, the shortest is taken.

    Args:
        paths: The paths.
        template: The pattern.
        kinds: Regular expressions of some placeholders; others have any text without a slash.

    Example:
        >>> one = parse_template("raw/{id}/{id}.csv", fields={"id"})
        >>> find_values(["raw/A-1/A-1.csv", "raw/A-2/B.csv"], one)
        [{'path': 'raw/A-1/A-1.csv', 'id': 'A-1'}]
        >>> one = parse_template("{sub}/{ses?}/x_{task}", fields={"sub", "ses", "task"})
        >>> find_values(["2/x_rs"], one)
        [{'path': '2/x_rs', 'sub': '2', 'ses': '', 'task': 'rs'}]
    """
    fits = [re.compile(tokens_regex(way.tokens, "[^/]+?", kinds)) for way in template.variants.values()]
    names = [name for _, name in template.tokens if name in template.fields]
    rows = []
    for path in paths:
        found = next((match for regex in fits if (match := regex.fullmatch(path))), None)
        values = {} if found is None else {name: found.groupdict().get(name) or "" for name in names}
        if found and all(fault_of(value) is None for value in values.values() if value):
            rows.append({"path": path, **values})
    return rows


def _of_fields(template: Template, rows: Sequence[Mapping[str, str]]) -> tuple[str, list[str]]:
    """Return an id pattern whose named groups are the fields of a pattern, and the ids of the values.

    Raises:
        PatternError: When no id built from the fields distinguishes all records.
    """
    names = [name for _, name in template.tokens if name in template.fields - {"task", "modality"}]
    first = next((name for name in names if name in template.needed), None)
    names = sorted(dict.fromkeys(names), key=lambda name: name != first)
    groups = {}
    for name in names:
        values = sorted({row[name] for row in rows if row[name]})
        groups[name] = f"{_label(template, name)}(?P<{name}>{propose(values)})"
    records = {tuple(row[name] for name in names) for row in rows}
    for separator in _SEPARATORS:
        text, *others = groups.values()
        for name, group in zip(names[1:], others, strict=True):
            piece = separator + group
            text += piece if name in template.needed else f"(?:{piece})?"
        ids = IdPattern(text)
        form = ids.form
        if isinstance(form, str):
            continue
        fields = [dict(zip(names, record, strict=True)) for record in records]
        written = {form.write(values): values for values in fields}
        agrees = [
            ids.values(record_id) == {"id": record_id, **values} for record_id, values in written.items()
        ]
        if all(agrees) and len(agrees) == len(records):
            return text, sorted(written)
    raise PatternError(
        f"--from-files: no id can be made of {', '.join(names)} that differs for each record",
        "Write {id} for a part of the path that names the record alone.",
    )


def _label(template: Template, name: str) -> str:
    """Return the text before a field that names the field: `sub-` in `sub-{sub}`."""
    for before, token in pairwise(template.tokens):
        if token[0] != "text" and token[1] == name:
            found = re.search(r"(?:^|[/_])([A-Za-z]+-)$", before[1]) if before[0] == "text" else None
            return found[1] if found else ""
    return ""


def propose(ids: Sequence[str]) -> str:
    r"""Propose a regular expression that matches these ids and similar ones.

    Example:
        >>> propose(["REC-001", "REC-002"])
        'REC-\\d{3}'
        >>> propose(["LY-001-a", "PA-12-b"])
        '[A-Z]{2}-\\d{2,3}-[a-z]'
        >>> propose(["x.1", "y.2", "summary"])
        '[a-z]\\.\\d|summary'
        >>> propose(["a1", "b-2", "c.3.x", "d_4", "copy of d_4"])
        '[^/.][^/]*'
    """
    shapes: dict[tuple[str, ...], list[list[tuple[str, str]]]] = {}
    for runs in map(_split, ids):
        shapes.setdefault(tuple(kind if kind in "dl" else text for kind, text in runs), []).append(runs)
    frequent = sorted(shapes.values(), key=len, reverse=True)
    texts = [
        "".join(_piece(column, several=len(rows) > 1) for column in zip(*rows, strict=True))
        for rows in frequent[:_SHAPES]
    ]
    proposals = ["|".join(dict.fromkeys(texts)), *_GENERAL]
    return next(text for text in proposals if all(re.fullmatch(text, each) for each in ids))


def id_forms(ids: Sequence[str]) -> list[tuple[str, int]]:
    """Group ids by their form: an example of each form and the number of its ids, most frequent first.

    Example:
        >>> id_forms(["REC-001", "REC-002", "copy of REC-001"])
        [('REC-001', 2), ('copy of REC-001', 1)]
    """
    forms: dict[str, list[str]] = {}
    for record_id in ids:
        forms.setdefault(re.sub(r"[^\W\d_]+", "a", re.sub(r"\d+", "0", record_id)), []).append(record_id)
    return sorted(((some[0], len(some)) for some in forms.values()), key=lambda form: -form[1])


def _split(text: str) -> list[tuple[str, str]]:
    """Split a text into runs of digits (d), letters (l) and other characters."""

    def kind(char: str) -> str:
        return "d" if char.isdecimal() else "l" if char.isalpha() else "-"

    return [(key, "".join(run)) for key, run in groupby(text, kind)]


def _piece(runs: Sequence[tuple[str, str]], *, several: bool) -> str:
    kind, texts = runs[0][0], {text for _, text in runs}
    if kind == "-" or (kind == "l" and len(texts) == 1 and (several or len(texts.copy().pop()) > 1)):
        return re.sub(r"[^\w\- ]", r"\\\g<0>", texts.pop())
    joined = "".join(texts)
    if kind == "d":
        character = r"\d" if joined.isascii() else r"[^\W_]"
    elif not joined.isascii():
        character = r"[^\W\d_]"
    else:
        character = "[A-Z]" if joined.isupper() else "[a-z]" if joined.islower() else "[A-Za-z]"
    least, most = min(map(len, texts)), max(map(len, texts))
    return character + (
        "" if least == most == 1 else f"{{{least}}}" if least == most else f"{{{least},{most}}}"
    )


def _quoted(text: str) -> str:
    """Quote a text for TOML, as a literal string if possible."""
    return f"'{text}'" if "'" not in text else '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


_OUTPUTS = """\
# Results and the journal (LOG) go beside the files; to keep them apart, name another folder here.
# outputs = "results"
"""

_STEPS = """\
[steps]
# The files of the folder `scripts` that are steps, without `.py`, in the order in which they run.
scripts = [{}]
"""

_PROPOSED = """\
# Proposed from the {n} records of {pattern}. Named groups are fields of the id: columns, and places in patterns."""

_NOT_PROPOSED = """\
# What a record id looks like, as a regular expression. Named groups are fields of the id, such as (?P<site>[A-Z]+).
# `sinagot-catalog init --from-files 'raw/{id}.csv'` proposes it, and replaces this file while it is as here."""

_TOML = """\
# A workspace: where the files are, how the records are called, and which scripts run over each of them.
# Paths are relative to this file.
[path]
dataset = "{dataset}"
scripts = "scripts"
{outputs}
[records]
{proposed}
id_pattern = {ids}
{metadata}
{steps}
# [run]
# mode = "processes"     # or "main_process", "prefect"
# workers = 4            # by default one per core
"""

_METADATA = """\
# A table of the records. Its columns, such as age, are there to filter and to group by.
metadata = "{}"
"""

_SCRIPT = '''\
from sinagot_catalog import ScriptTemplate


class Script(ScriptTemplate):
    """How many lines a recording has: a first step, to be replaced by yours."""

    PATH_IN = {path_in}
    PATH_OUT = {path_out}

    def run(self):
        lines = self.path.input.read_bytes().count(b"\\n")
        self.logger.info("%d lines", lines)
        self.path.output.write_text(f"{{lines}}\\n")
'''
