"""Explanations: the status of one row of `steps` with its rules, files and attempts, as text and as values.

The sentences of the rules are in `catalog.rules.status_rules`; `explainer` evaluates them for a row.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, field
from datetime import datetime
from typing import Any

from sinagot_catalog.catalog import sql_text
from sinagot_catalog.config import count_of
from sinagot_catalog.errors import failure_text, row_label
from sinagot_catalog.journal import Resources
from sinagot_catalog.run import needs_text
from sinagot_catalog.startup import dataclass


@dataclass(frozen=True)
class Rule:
    """A rule: the status that it gives, whether it holds (None: not evaluated), and the evidence for that.

    `number` and `name` stay the same in later versions.
    """

    number: int
    name: str
    says: str
    status: str | None
    holds: bool | None
    evidence: str


@dataclass(frozen=True)
class File:
    """A path that the step reads or writes.

    For a folder, `size` is the total of its files and `count` their number; `count` of a file is None. `near` names
    a similar file in the same folder if the path is absent. `is_dangling` means that the path is a broken link.
    """

    role: str
    label: str | None
    path: str
    exists: bool
    size: int | None
    modified: datetime | None
    made_by: tuple[str, ...] = ()
    near: str | None = None
    is_dangling: bool = False
    count: int | None = None

    @property
    def absence(self) -> str:
        """That it is absent, with the steps that make it and a similar file; empty if it exists."""
        if self.exists:
            return ""
        dangling = ", a link to nothing" if self.is_dangling else ""
        made = f", made by {' or '.join(self.made_by)}" if self.made_by else ""
        near = f"; near: {self.near}" if self.near else ""
        return f"absent{dangling}{made}{near}"


@dataclass(frozen=True)
class Attempt:
    """The journal's record of the last attempt."""

    event: str
    run_id: str | None
    alive: bool
    host: str | None
    started: datetime | None
    ended: datetime | None
    seconds: float | None
    attempts: int | None
    error_type: str | None
    message: str | None
    traceback: str | None
    output: str | None


@dataclass(frozen=True)
class Upstream:
    """A step that makes an absent input, directly or through other steps, and the record or group of its row."""

    record_id: str
    step: str
    status: str | None
    reason: str
    makes: str


@dataclass(frozen=True)
class Change:
    """A change that would give the row another status.

    Attributes:
        text: A description of the change.
        run: The options of a run of this row that makes the change, `whole_record` for a run of all its steps;
            or None.
    """

    text: str
    run: dict[str, bool | str] | None = None


@dataclass(frozen=True)
class Explanation:
    """The explanation of a row's status.

    Attributes:
        status: Its status, None if it is unknown.
        reason: The sentence of the table `steps`.
        rules: The rules in order; the first that holds decides.
        files: The paths that the step reads and writes, with sizes and times.
        attempt: The journal's record of the last attempt, None without an attempt.
        stale: The changes since the row was done; None if it is not DONE.
        upstream: The steps that would make its absent inputs, nearest first.
        held_by: Live runs that have claimed this row.
        changes: Changes that would give it another status.
        needs: The resources that the step declares, by their names.

    Example:
        >>> from sinagot_catalog import example
        >>> ws = example()
        >>> explanation = ws.explain("REC-20200601", "summary")
        >>> explanation.status, explanation.decided.says
        ('INIT', 'otherwise: an input is not there yet')
        >>> [upstream.step for upstream in explanation.upstream]
        ['count', 'mean']
    """

    record_id: str
    task: str | None
    modality: str | None
    step: str
    status: str | None
    reason: str
    rules: tuple[Rule, ...]
    files: tuple[File, ...]
    attempt: Attempt | None
    stale: tuple[str, ...] | None
    upstream: tuple[Upstream, ...]
    held_by: tuple[str, ...]
    changes: tuple[Change, ...]
    needs: Mapping[str, float] = field(default_factory=dict)

    @property
    def decided(self) -> Rule:
        """The rule that decided the status."""
        return next(rule for rule in self.rules if rule.holds)

    @property
    def name(self) -> str:
        """The name of the row for messages."""
        return row_label(self.record_id, self.task, self.modality, self.step)

    def run_words(self, options: dict[str, bool | str]) -> list[str]:
        """Return the words of a `run` of this row with given options, without the workspace.

        Example:
            >>> from sinagot_catalog import example
            >>> ws = example()
            >>> ws.explain("REC-20200601", "count").run_words({"force": True})
            ['--record', 'REC-20200601', '--step', 'count', '--force']
        """
        if options.get("whole_record"):
            return ["--record", self.record_id]
        units = (("task", self.task), ("modality", self.modality))
        where = [f"{name} = {sql_text(value)}" for name, value in units if value]
        flags = [
            f"--{name.replace('_', '-')}" + ("" if value is True else f"={value}")
            for name, value in options.items()
            if value
        ]
        narrow = ["--where", " AND ".join(where)] if where else []
        return ["--record", self.record_id, "--step", self.step, *narrow, *flags]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values for JSON: times as ISO text."""
        plain = json.loads(json.dumps(asdict(self), default=datetime.isoformat))
        return {**plain, "decided_by": self.decided.number, "rule": self.decided.name}

    def lines(
        self, follow: Callable[[dict[str, bool | str]], str] | None = None
    ) -> Iterator[tuple[str, str]]:
        """Yield the lines of the explanation with their kinds: head, rule, decided, file, absent, text, failure.

        Args:
            follow: Formats the command that runs the row with given options.
        """
        yield "head", f"{self.name}: {self.status or 'unknown'}"
        yield "text", f"  {self.reason}"
        yield "head", "rules"
        yield from map(_rule_line, self.rules)
        yield "rule", f"  decided by rule {self.decided.number}: {self.decided.name}"
        yield "head", "files"
        if not self.files:
            yield "text", "  none are declared"
        yield from (("file" if file.exists else "absent", f"  {_file_line(file)}") for file in self.files)
        if self.attempt is not None:
            yield "head", "last attempt"
            yield from _attempt_lines(self.attempt)
        if self.stale:
            yield "head", "stale"
            yield from (("text", f"  {line}") for line in self.stale)
        if self.upstream:
            yield "head", "waits for"
            for step in self.upstream:
                yield "text", f"  {step.step}: {step.status or 'unknown'}, {step.reason} (makes {step.makes})"
        if self.needs:
            yield "head", "needs"
            yield "text", f"  {needs_text(Resources(**self.needs))}"  # type: ignore[arg-type]
        if self.held_by:
            yield "text", f"claimed by run {', '.join(self.held_by)}, which is alive"
        yield "head", "what would change it"
        for change in self.changes:
            words = f": {follow(change.run)}" if follow is not None and change.run is not None else ""
            yield "text", f"  {change.text}{words}"

    def __repr__(self) -> str:
        return "\n".join(text for _, text in self.lines())

    def _repr_html_(self) -> str:
        from html import escape

        tags = {"head": "b", "decided": "b"} | dict.fromkeys(
            ("absent", "failure"), "span style='color:#b3261e'"
        )
        body = "\n".join(
            f"<{tag}>{escape(text)}</{tag.partition(' ')[0]}>" if (tag := tags.get(kind)) else escape(text)
            for kind, text in self.lines()
        )
        return f"<pre>{body}</pre>"


def _rule_line(rule: Rule) -> tuple[str, str]:
    mark = {True: "yes", False: "no ", None: "·  "}[rule.holds]
    gives = f" -> {rule.status or 'unknown'}" if rule.holds else ""
    evidence = f": {rule.evidence}" if rule.evidence else ""
    return "decided" if rule.holds else "rule", f"  {rule.number} {mark} {rule.says}{gives}{evidence}"


def _file_line(file: File) -> str:
    name = f"{file.role} {file.label}" if file.label else file.role
    if not file.exists:
        return f"{name} {file.path}: {file.absence}"
    size = "cannot be read" if file.size is None else count_of(file.size, "byte")
    size = size if file.count is None else f"a folder, {count_of(file.count, 'file')}, {size}"
    return f"{name} {file.path}: {size}, {time_text(file.modified)}"


def _attempt_lines(attempt: Attempt) -> Iterator[tuple[str, str]]:
    state = {
        "start": "started it",
        "publishing": "was moving its outputs into place",
        "half": "failed between two outputs",
        "error": "failed",
        "done": "completed it",
        "not_available": "found an input absent",
        "cancelled": "was stopped",
    }
    run = f"run {attempt.run_id}" if attempt.run_id else "a line of sinagot"
    life = "alive" if attempt.alive else "ended"
    yield "text", f"  {run} on {attempt.host or '?'} ({life}) {state.get(attempt.event, attempt.event)}"
    took = "" if attempt.seconds is None else f", {attempt.seconds:.2f} s"
    tries = "" if (attempt.attempts or 1) == 1 else f", {attempt.attempts} attempts"
    if attempt.started or attempt.ended:
        yield "text", f"  from {time_text(attempt.started)} to {time_text(attempt.ended)}{took}{tries}"
    if attempt.message and attempt.event in ("error", "half", "not_available"):
        first_line = attempt.message.strip().partition("\n")[0]
        yield "text", f"  {failure_text(attempt.error_type, first_line)}"
    kind = "text" if attempt.event == "done" else "failure"
    for part in (attempt.traceback, attempt.output):
        yield from ((kind, f"    {line}") for line in (part or "").rstrip().splitlines())


def time_text(when: datetime | None) -> str:
    """Format a time; `?` if it is unknown."""
    return "?" if when is None else f"{when:%Y-%m-%d %H:%M:%S}Z"
