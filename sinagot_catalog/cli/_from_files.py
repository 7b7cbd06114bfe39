"""`init --from-files`: a workspace around files that are there, with an id pattern proposed from their names."""

from __future__ import annotations

import os
import re
from collections import Counter
from itertools import groupby
from typing import TYPE_CHECKING

from sinagot_catalog._patterns._template import Template, parse_template
from sinagot_catalog.errors import NotFoundError, PatternError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["find_ids", "looks", "propose", "workspace_files"]

_MOST = 200_000
_SHAPES = 3


def workspace_files(folder: Path, pattern: str) -> tuple[dict[str, str], list[str], str]:
    """What to write for a workspace around the files of a pattern.

    Returns:
        The files by name, the ids that were found, and the id pattern that was proposed.

    Raises:
        NotFoundError: When no file fits; names one that nearly does.
        PatternError: When the pattern cannot be used.
    """
    template = parse_template(pattern, fields={"id"})
    if "id" not in template.fields:
        raise PatternError(
            f"--from-files: {pattern!r} has no {{id}}", "Write {id} where the record's id stands."
        )
    dataset = (
        "dataset" if (folder / "dataset").is_dir() and not template.prefix.startswith("dataset/") else "."
    )
    root = folder / dataset
    paths = _files(root, template)
    ids = find_ids(paths, template)
    if not ids:
        near = did_you_mean(pattern, paths, most=1)
        raise NotFoundError(
            f"--from-files: no file in {root} fits {pattern!r}{near}", f"{len(paths)} files lie there."
        )
    text = propose(ids)
    parts = "".join(f'"{part}", ' for part in template.text.split("/")).removesuffix(", ")
    files = {
        "workspace.toml": _TOML.format(dataset=dataset, pattern=template.text, n=len(ids), ids=_quoted(text)),
        "scripts/lines.py": _SCRIPT.format(parts=f"({parts})" if "/" in template.text else parts),
    }
    return files, ids, text


def _files(root: Path, template: Template) -> list[str]:
    """The files under the pattern's literal folder."""
    start = root / template.prefix.rpartition("/")[0]
    found: list[str] = []
    for folder, folders, names in os.walk(start):
        folders.sort()
        beside = os.path.relpath(folder, root).replace(os.sep, "/")
        found += [name if beside == "." else f"{beside}/{name}" for name in sorted(names)]
        if len(found) > _MOST:
            break
    return found


def find_ids(paths: Sequence[str], template: Template) -> list[str]:
    """The ids for which a path fits; the same id wherever `{id}` stands.

    Example:
        >>> find_ids(["raw/A-1/A-1.csv", "raw/A-2/B.csv"], parse_template("raw/{id}/{id}.csv", fields={"id"}))
        ['A-1']
    """
    parts, seen = [], False
    for kind, value in template.tokens:
        parts.append(re.escape(value) if kind == "text" else r"(?P=id)" if seen else r"(?P<id>[^/]+)")
        seen = seen or kind == "field"
    fits = re.compile("".join(parts))
    return sorted({found["id"] for path in paths if (found := fits.fullmatch(path))})


def propose(ids: Sequence[str]) -> str:
    r"""A regular expression that these ids fit, and others that look like them.

    Example:
        >>> propose(["REC-001", "REC-002"])
        'REC-\\d{3}'
        >>> propose(["LY-001-a", "PA-12-b"])
        '[A-Z]{2}-\\d{2,3}-[a-z]'
        >>> propose(["x.1", "y.2", "summary"])
        '[a-z]\\.\\d|summary'
    """
    split = [(one, _split(one)) for one in ids]
    shapes = Counter(tuple(kind if kind in "dla" else text for kind, text in runs) for _, runs in split)
    if len(shapes) > _SHAPES:
        return r"[\w.-]+"
    texts = []
    for shape, _ in shapes.most_common():
        rows = [
            runs
            for _, runs in split
            if tuple(kind if kind in "dla" else text for kind, text in runs) == shape
        ]
        several = len(ids) > 1 and len(rows) > 1
        texts.append("".join(_piece([row[n] for row in rows], several=several) for n in range(len(shape))))
    return "|".join(dict.fromkeys(texts))


def looks(ids: Sequence[str]) -> list[tuple[str, int]]:
    """The different looks that ids have, each by one of them and how many look like it, most frequent first.

    Example:
        >>> looks(["REC-001", "REC-002", "copy of REC-001"])
        [('REC-001', 2), ('copy of REC-001', 1)]
    """
    found: dict[str, list[str]] = {}
    for one in ids:
        found.setdefault(re.sub(r"[^\W\d_]+", "a", re.sub(r"\d+", "0", one)), []).append(one)
    return sorted(((some[0], len(some)) for some in found.values()), key=lambda look: -look[1])


def _split(text: str) -> list[tuple[str, str]]:
    """Runs of digits (d), letters (l) and the rest, each by itself."""

    def kind(char: str) -> str:
        return "d" if char.isdecimal() else "l" if char.isalpha() else "-"

    return [(key, "".join(run)) for key, run in groupby(text, kind)]


def _piece(runs: Sequence[tuple[str, str]], *, several: bool) -> str:
    kind, texts = runs[0][0], {text for _, text in runs}
    if kind == "-" or (kind == "l" and len(texts) == 1 and (several or len(texts.copy().pop()) > 1)):
        return re.sub(r"[^\w\- ]", r"\\\g<0>", texts.pop())
    joined = "".join(texts)
    if kind == "d":
        one = r"\d" if joined.isascii() else r"[^\W_]"
    elif not joined.isascii():
        one = r"[^\W\d_]"
    else:
        one = "[A-Z]" if joined.isupper() else "[a-z]" if joined.islower() else "[A-Za-z]"
    least, most = min(map(len, texts)), max(map(len, texts))
    return one + ("" if least == most == 1 else f"{{{least}}}" if least == most else f"{{{least},{most}}}")


def _quoted(text: str) -> str:
    """A text for TOML, literal where that is possible."""
    return f"'{text}'" if "'" not in text else '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


_TOML = """\
# A workspace around files that were there before it. Paths are relative to this file.
[path]
dataset = "{dataset}"
scripts = "scripts"

[records]
# Proposed from the {n} files that fit {pattern}. Named groups become columns, such as (?P<site>[A-Z]+).
id_pattern = {ids}

[steps]
# The scripts of the folder above, without `.py`, in the order in which they run.
scripts = ["lines"]
"""

_SCRIPT = '''\
from sinagot_catalog import ScriptTemplate


class Script(ScriptTemplate):
    """How many lines a recording has: a first step, to be replaced by yours."""

    PATH_IN = {parts}
    PATH_OUT = ("lines", "{{id}}.txt")

    def run(self):
        lines = self.path.input.read_bytes().count(b"\\n")
        self.logger.info("%d lines", lines)
        self.path.output.write_text(f"{{lines}}\\n")
'''
