"""Status rules: the table of rules that give a row of `steps` its status, with their sentences. Pure expressions.

`RULES` holds the rules in order; the first that holds decides. Everything that tells a status reads this table: the
columns `status` and `reason`, the plan, `explain` and the report. A new rule is one more entry.

Conditions read these columns, a row per record and unit step: `_broken` (the script cannot be used, its paths are
refused, or a pattern names no path), `_excluded` (a person left it out, or its inputs), `_unknown` (a path lies in
an unreadable folder), `_ready` (every input is present), `_made` (every output is present, null without
outputs), `_event` (the last event that is a status, see `journal.reader`), `_alive` (its run is alive).

Sentences read `_rule` (the name of the rule that decides), `_event`, the columns of `steps`, and those that
`reasons.with_causes` attaches: `_fault` (why the unit step cannot run), `_refused` (whether its paths are refused),
`_unnamed` (which pattern names no path), `_unreadable` (the unreadable folders), `_exclusion_reason` and
`_exclusion_source` (why it is excluded, and by which row of the table of exclusions), `_waits` (the steps that make
the absent inputs); and for groups `_members` (how many members are there), `_blocked` (which step of which member
failed, or cannot run), `_member` (what to exclude instead).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field
from typing import Literal

import polars as pl

from sinagot_catalog.schema import ATTEMPT, FAILED_ATTEMPTS, STATUS, STATUS_COUNTS
from sinagot_catalog.startup import dataclass


@dataclass(frozen=True)
class Remedy:
    """A change that gives a row another status.

    Attributes:
        text: A description of the change.
        run: The options of a run of the row that makes the change; None if a run does not make it.
        where: For which rows of the rule it is true.
    """

    text: pl.Expr
    run: Mapping[str, bool | str] | None = None
    where: pl.Expr = field(default_factory=lambda: pl.lit(value=True))


@dataclass(frozen=True)
class StatusRule:
    """One rule.

    Attributes:
        name: Its short name; it never changes.
        number: Its number in `explain`; it never changes.
        status: The status that it gives, None for unknown.
        holds: The condition.
        text: The condition in words.
        evidence: The values that the condition compares.
        sentence: The reason of its rows without details.
        detail: The reason of its rows with details.
        is_detailed: Which of its rows have details.
        remedies: What would change the status.
        action: What a plan does with its rows whatever its options are; None if the options decide.
    """

    name: str
    number: int
    status: str | None
    holds: pl.Expr
    text: pl.Expr
    evidence: pl.Expr
    sentence: str | None = None
    detail: pl.Expr | None = None
    is_detailed: pl.Expr = field(default_factory=lambda: pl.lit(value=True))
    remedies: tuple[Remedy, ...] = ()
    action: Literal["blocked", "skip"] | None = None

    @property
    def is_fixed(self) -> bool:
        """Whether no file can change the status of its rows, whether it comes or goes."""
        return self.action is not None or self.status == "PROCESSING"


def first_line(text: pl.Expr) -> pl.Expr:
    """Return the first line of a text, cut to the width of a table column."""
    return text.str.extract(r"^\s*([^\n]{0,200})", 1)


# --- parts of the sentences ----------------------------------------------------------------------------------

_EVENT = pl.col("_event")
_IS_UNFINISHED = _EVENT.is_in(["start", "publishing"])
_IS_SEED_LINE = pl.col("run_id").is_null()  # a log of sinagot names no run
_IS_COMPLETE = pl.col("n_inputs_found") == pl.col("n_inputs")
_HAS_OUTPUTS = pl.col("n_outputs") > 0
_LAST_EVENT = pl.format("last event: {}", _EVENT.fill_null("none"))
_RUN_ID = pl.col("run_id").fill_null("unknown")
_RUN = pl.format("run {} on {}", _RUN_ID, pl.col("host").fill_null("?"))
_MESSAGE = pl.col("message").fill_null("")
_ERROR_TYPE = pl.col("error_type").fill_null("error")
_FAILURE = pl.format("{}: {}", _ERROR_TYPE, first_line(_MESSAGE))
_WHOLE_FAILURE = pl.format("{}: {}", _ERROR_TYPE, _MESSAGE.str.extract(r"^\s*([^\n]*)", 1))
_LOST = pl.format("{} ended unexpectedly", _RUN)
_IS_MADE_FROM_EXCLUDED = pl.col("_exclusion_source").is_null()
_ABSENT = pl.when(pl.col("_blocked").is_not_null()).then(
    pl.format("{}; {}: run it again, exclude {}, or set PARTIAL = True", "_blocked", "_members", "_member")
).when(pl.col("_waits").is_not_null()).then(pl.format("waits for {}", "_waits")).otherwise(
    pl.format("missing {}", "missing")
) + pl.when(pl.col("_members").is_not_null() & pl.col("_blocked").is_null()).then(
    pl.format("; {}", "_members")
).otherwise(pl.lit(""))
_TRY_ANYWAY = Remedy(
    pl.lit("asked for by name it is tried all the same"), {"ignore_missing": True}, where=~_IS_COMPLETE
)
_TRY_AGAIN = Remedy(pl.lit("a run tries it again"), {}, where=_IS_COMPLETE)

# --- the rules -----------------------------------------------------------------------------------------------

RULES = (
    StatusRule(
        "fault",
        0,
        "ERROR",
        holds=pl.col("_broken"),
        text=pl.when(pl.col("_fault").is_null() & pl.col("_unnamed").is_not_null())
        .then(pl.lit("a pattern names no path"))
        .otherwise(pl.lit("the script cannot be used, or its paths are refused")),
        evidence=pl.coalesce("_fault", "_unnamed"),
        detail=pl.coalesce("_fault", "_unnamed"),
        remedies=(
            Remedy(
                pl.when(pl.col("_refused")).then(pl.lit("change its paths as the sentence says"))
                .when(pl.col("_fault").is_not_null()).then(pl.lit("mend the script"))
                .otherwise(pl.lit("mend the pattern")) + pl.lit("; the next look reads it again")
            ),
        ),
        action="blocked",
    ),
    StatusRule(
        "excluded",
        9,
        "EXCLUDED",
        holds=pl.col("_excluded"),
        text=pl.lit("it is excluded, or made from what is excluded"),
        evidence=pl.coalesce("_exclusion_source", "_exclusion_reason"),
        detail=pl.format("excluded: {}", "_exclusion_reason"),
        remedies=(
            Remedy(
                pl.lit("sinagot-catalog include, which takes the record back"), where=~_IS_MADE_FROM_EXCLUDED
            ),
            Remedy(
                pl.lit("sinagot-catalog include for what it is made from"), where=_IS_MADE_FROM_EXCLUDED
            ),
        ),
        action="skip",
    ),
    StatusRule(
        "unknown",
        2,
        None,
        holds=pl.col("_unknown"),
        text=pl.lit("a folder cannot be read"),
        evidence=pl.when(pl.col("_rule") == "unknown").then("_unreadable"),
        detail=pl.format("unknown: cannot read {}", "_unreadable"),
        remedies=(Remedy(pl.format("make {} readable, then look again", "_unreadable")),),
        action="skip",
    ),
    StatusRule(
        "running",
        1,
        "PROCESSING",
        holds=_IS_UNFINISHED & pl.col("_alive"),
        text=pl.lit("a live run is working on it"),
        evidence=pl.when(~_IS_UNFINISHED.fill_null(value=False)).then(_LAST_EVENT)
        .when(_IS_SEED_LINE)
        .then(pl.lit("begun, says a log of sinagot, which names no run that could be dead"))
        .when(pl.col("_rule") == "running").then(pl.format("{}, which is alive", _RUN))
        .otherwise(pl.format("{}, which is dead: it ended unexpectedly", _RUN)),
        detail=pl.when(_IS_SEED_LINE).then(pl.lit("begun, says a log of sinagot"))
        .otherwise(pl.format("running: {}", _RUN)),
        remedies=(
            Remedy(pl.lit("a run, which does not count that line as a claim"), {}, where=_IS_SEED_LINE),
            Remedy(
                pl.format("the end of run {}, or the death of its process", _RUN_ID), where=~_IS_SEED_LINE
            ),
        ),
    ),
    StatusRule(
        "half_published",
        3,
        "ERROR",
        holds=_EVENT.is_in(["publishing", "half"]),
        text=pl.lit("half published"),
        evidence=pl.when(_EVENT == "half")
        .then(pl.lit("the attempt failed between two outputs: some are new, some old"))
        .when(_EVENT == "publishing").then(pl.lit("the run ended between two outputs")),
        detail=pl.when(_EVENT == "half").then(pl.format("half published: {}", _FAILURE))
        .otherwise(pl.format("half published: {} ended between two outputs", _RUN)),
        remedies=(_TRY_AGAIN, _TRY_ANYWAY),
    ),
    StatusRule(
        "done",
        4,
        "DONE",
        holds=pl.coalesce("_made", _EVENT.is_in(["done", "accepted"])).fill_null(value=False),
        text=pl.when(_HAS_OUTPUTS).then(pl.lit("all outputs are there"))
        .otherwise(pl.lit("the journal says that it is done (it has no outputs)")),
        evidence=pl.when(_HAS_OUTPUTS).then(pl.format("{} of {}", "n_outputs_found", "n_outputs"))
        .otherwise(_LAST_EVENT),
        sentence="all outputs are there",
        detail=pl.when(_EVENT == "error").then(pl.format("kept; last attempt failed: {}", _FAILURE))
        .otherwise(pl.format("kept; last attempt lost: {}", _LOST)),
        is_detailed=_EVENT.is_in(["error", "start"]),
        remedies=(
            Remedy(
                pl.lit("a forced run makes it again, and keeps the present outputs if it fails"), {"force": True}
            ),
        ),
    ),
    StatusRule(
        "failed",
        5,
        "ERROR",
        holds=_EVENT.is_in(["start", "error"]),
        text=pl.lit("the last attempt failed or was lost"),
        evidence=pl.when(_EVENT == "start")
        .then(pl.format("run {} began it and ended unexpectedly", _RUN_ID))
        .when(_EVENT == "error").then(_WHOLE_FAILURE).otherwise(_LAST_EVENT),
        detail=pl.when(_EVENT == "start").then(pl.format("lost: {}", _LOST)).otherwise(_FAILURE),
        remedies=(_TRY_AGAIN, _TRY_ANYWAY),
    ),
    StatusRule(
        "ready",
        6,
        "DATA_READY",
        holds=pl.col("_ready"),
        text=pl.lit("all inputs are there"),
        evidence=pl.when(pl.col("n_inputs") > 0).then(pl.format("{} of {}", "n_inputs_found", "n_inputs"))
        .otherwise(pl.lit("it has none")),
        sentence="all inputs are there",
        detail=pl.coalesce("_members", pl.lit("all inputs are there")),
        is_detailed=pl.col("by").is_not_null(),
        remedies=(Remedy(pl.lit("a run makes it"), {}),),
    ),
    StatusRule(
        "not_available",
        7,
        "DATA_NOT_AVAILABLE",
        holds=_EVENT == "not_available",
        text=pl.lit("its last attempt found an input absent"),
        evidence=_LAST_EVENT,
        detail=_ABSENT,
    ),
    StatusRule(
        "waiting",
        8,
        "INIT",
        holds=pl.lit(value=True),
        text=pl.lit("otherwise: an input is not there yet"),
        evidence=_ABSENT,
        detail=_ABSENT,
        remedies=(_TRY_ANYWAY,),
    ),
)  # fmt: skip
"""The rules in order: the first that holds decides."""

RULE = pl.Enum([rule.name for rule in RULES])
"""The dtype of `_rule`."""

_STATUSES = pl.Series("status", [rule.status for rule in RULES], dtype=STATUS)


# --- columns -------------------------------------------------------------------------------------------------


def deciding_rule() -> pl.Expr:
    """Return the name of the rule that decides: the column `_rule`."""
    first = pl.lit(RULES[-1].name, dtype=RULE)
    for rule in reversed(RULES[:-1]):
        first = pl.when(rule.holds).then(pl.lit(rule.name, dtype=RULE)).otherwise(first)
    return first.alias("_rule")


def status() -> pl.Expr:
    """Return the status that the column `_rule` gives.

    Example:
        >>> rules = pl.Series("_rule", ["failed", "unknown"], dtype=RULE)
        >>> rules.to_frame().select(status()).to_series().to_list()
        ['ERROR', None]
    """
    return pl.lit(_STATUSES).gather(pl.col("_rule").to_physical())


def rule_texts() -> pl.DataFrame:
    """Return the rules in order, each with its condition in words.

    Returns:
        Columns `rule`, `number`, `status` and `text`.

    Example:
        >>> rule_texts().row(by_predicate=pl.col("rule") == "failed")
        ('failed', 5, 'ERROR', 'the last attempt failed or was lost')
    """
    # a rule with two texts chooses between them by these columns
    kinds = pl.DataFrame({"_fault": ["x", None], "_unnamed": [None, "x"], "n_outputs": [1, 0]})
    words = [kinds.select(rule.text.alias("text"))["text"].unique(maintain_order=True) for rule in RULES]
    return pl.DataFrame(
        {
            "rule": [rule.name for rule in RULES],
            "number": [rule.number for rule in RULES],
            "status": pl.Series([rule.status for rule in RULES], dtype=pl.String),
            "text": ["; or ".join(texts) for texts in words],
        }
    )


def plain_reason() -> pl.Expr:
    """Return the reason of rows that have nothing to add to the sentence of their rule, else null."""
    plain = [(rule, rule.sentence) for rule in RULES if rule.sentence is not None]
    return pl.coalesce(
        pl.when((pl.col("_rule") == rule.name) & ~rule.is_detailed.fill_null(value=False)).then(pl.lit(text))
        for rule, text in plain
    ).alias("reason")


def reason() -> pl.Expr:
    """Return why a row has its status, one short sentence."""
    text = plain_reason()
    for rule in RULES:
        if rule.detail is not None:
            holds = (pl.col("_rule") == rule.name) & rule.is_detailed.fill_null(value=False)
            text = pl.when(holds).then(rule.detail).otherwise(text)
    return text.alias("reason")


def fixed_action() -> pl.Expr:
    """Return what a plan does with a row whatever its options are; null if they decide."""
    actions = {rule.name: rule.action for rule in RULES if rule.action is not None}
    return pl.col("_rule").replace_strict(actions, default=None, return_dtype=pl.String)


def outcome(alive: Iterable[str]) -> pl.Expr:
    """Return the outcome of an attempt; null while its run is alive, and if a log of sinagot names no run.

    Args:
        alive: The runs that are alive.
    """
    event = pl.col("event")
    is_dead = ~pl.col("run_id").is_in(list(alive))
    return (
        pl.when(event.is_in(["start", "publishing"]) & is_dead).then(pl.lit("lost"))
        .when(event.is_in(["error", "half"]) & (pl.col("error_type") == "Timeout")).then(pl.lit("timeout"))
        .when(event.is_in(["error", "half"])).then(pl.lit("error"))
        .when(event == "accepted").then(pl.lit("done"))
        .when(event.is_in(["done", "cancelled", "not_available"])).then(event)
        .cast(ATTEMPT).alias("outcome")
    )  # fmt: skip


def failed() -> pl.Expr:
    """Whether a row of `steps` counts as a failure, also if older outputs make it DONE; never if it is excluded."""
    is_error = pl.col("status") == "ERROR"
    is_excluded = pl.col("status").eq_missing(pl.lit("EXCLUDED", dtype=STATUS))
    return (is_error | pl.col("outcome").is_in(FAILED_ATTEMPTS)).fill_null(value=False) & ~is_excluded


def counts() -> list[pl.Expr]:
    """Return the number of steps of a group, in total and by status."""
    names = dict(zip(STATUS_COUNTS, [*STATUS.categories, None], strict=True))
    return [
        pl.len().cast(pl.UInt32).alias("n_steps"),
        *(
            (pl.col("status").is_null() if status is None else pl.col("status") == status)
            .sum().cast(pl.UInt32).alias(name)
            for name, status in names.items()
        ),
    ]  # fmt: skip
