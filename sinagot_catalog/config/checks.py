"""Checks of a config document: finds its faults, such as unknown keys, each with its address and a sentence."""

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from sinagot_catalog.config.model import (
    CommandConfig,
    Document,
    ModalityConfig,
    PrefectSection,
    ProcessedConfig,
)
from sinagot_catalog.config.parameters import parameter_faults, params_of
from sinagot_catalog.config.record_keys import match_of
from sinagot_catalog.config.resources import resource_faults
from sinagot_catalog.config.validator import Address, Misfit
from sinagot_catalog.errors import PatternError, did_you_mean
from sinagot_catalog.patterns import IdPattern, WithColumns, parse_inputs, parse_labelled

Fault = tuple[Address, str]
Table = dict[str, Any]

_WIDTH = 60  # characters of a wrong value that a message shows


def own_sections(document: Table) -> list[str]:
    """The sections that belong to the user: their names do not resemble a section of this library."""
    names = [field.name for field in fields(Document)]
    return [
        name
        for name, value in document.items()
        if isinstance(value, dict) and name not in names and not did_you_mean(name, names)
    ]


def sentence_of(misfit: Misfit) -> str:
    """What is wrong with a value that does not fit its section."""
    if not misfit.sentence:
        return _unknown(misfit)
    shown = "the value" if misfit.address[0] == "storage" else _shown(misfit.value)
    hint = (
        f"; write [{shown}]" if misfit.sentence == "is not a list" and isinstance(misfit.value, str) else ""
    )
    return f"{shown} {misfit.sentence}{hint}"


def _unknown(misfit: Misfit) -> str:
    *parents, name = misfit.address
    what = "section" if isinstance(misfit.value, dict) else "key"
    near = did_you_mean(str(name), misfit.known, most=1)
    if not near and what == "key":
        elsewhere = (
            f"; did you mean {f'{section.name}.{name}'!r}?"
            for section in fields(Document)
            if is_dataclass(section.type) and name in [field.name for field in fields(section.type)]
        )
        near = next(elsewhere, "")
    own = "" if parents or near or what == "section" else "; values of your own need a section, such as [lab]"
    return f"unknown {what}{near or '; known here: ' + ', '.join(misfit.known)}{own}"


def dotted(address: Address) -> str:
    """Format an address: `("modalities", "EEG", "scripts", 0)` as `modalities.EEG.scripts[0]`."""
    text = ""
    for key in address:
        if isinstance(key, int):
            text += f"[{key}]"
        else:
            plain = re.fullmatch(r"[\w-]+", key) is not None
            text += ("." if text else "") + (key if plain else repr(key))
    return text


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 3]}..."


def cross_checks(model: Document) -> Iterator[Fault]:
    """Find the faults that a single value does not show: they concern names, patterns or several sections."""
    ids, wrong = _id_pattern(model.records.id_pattern)
    if wrong:
        yield ("records", "id_pattern"), wrong
    yield from _metadata_faults(model, ids)
    if model.prefect.address is not None and model.prefect.task_runner == "threads":
        yield ("prefect", "address"), "has no effect without prefect.task_runner = 'dask' or 'ray'"
    yield from _cluster_faults(model.prefect)
    yield from _list_faults(("steps", "scripts"), model.steps.scripts)
    for task, item in model.tasks.items():
        yield from _name_faults(("tasks", task), task, "task")
        yield from _list_faults(("tasks", task, "modalities"), item.modalities, script=False)
        if not item.modalities:
            yield ("tasks", task, "modalities"), "missing; write the list of the task's modalities"
        for n, modality in enumerate(item.modalities):
            yield from _unknown_name(("tasks", task, "modalities", n), modality, "modality", model.modalities)
    for modality, each in model.modalities.items():
        yield from _modality_faults(modality, each, model)
    for key, processed in model.processed.items():
        yield from _processed_faults(key, processed, model)
    yield from parameter_faults(model)
    yield from resource_faults(model)
    for name, command in model.steps.commands.items():
        yield from _command_faults(name, command, model, ids)


def _cluster_faults(section: PrefectSection) -> Iterator[Fault]:
    """Values of a cluster that have no effect, or name two clusters."""
    if section.cluster_class is not None:
        if section.task_runner != "dask":
            yield ("prefect", "cluster_class"), "has no effect without prefect.task_runner = 'dask'"
        elif section.address is not None:
            yield ("prefect", "cluster_class"), "names a cluster, and prefect.address another one; write one"
        return
    for name in ("cluster_kwargs", "adapt_kwargs"):
        if getattr(section, name):
            yield ("prefect", name), "has no effect without prefect.cluster_class"


_PLACEHOLDER = re.compile(r"(?<!\\)\{(?P<name>[A-Za-z_]\w*)\??(?::(?P<regex>(?:[^{}]|\{[\d,]+\})+))?\}")
"""A placeholder as other tools write it in a pattern: `{sub}`, `{sub?}`, `{sub:regex}`."""


def _metadata_faults(model: Document, ids: IdPattern | None) -> Iterator[Fault]:
    """Expected records without a table, tables without a path, and keys that are not a field of the id."""
    records = model.records
    has_table = records.metadata or any(one.models.table_path for one in model.modalities.values())
    if records.expected and not has_table:
        yield ("records", "expected"), "true needs records.metadata, the table that names the records"
    if ids is None:
        return
    for n, table in enumerate(records.metadata):
        if not table.path:
            yield ("records", "metadata", n, "path"), "missing; write the path of the table"
        for k, name in enumerate(table.key):
            if match_of(name, ids.groups) is None:
                near = _nearest(name, ["record_id", *ids.groups])
                yield ("records", "metadata", n, "key", k), f"{name!r} is not a field of id_pattern{near}"


def _unknown_name(address: Address, name: str | None, what: str, names: Collection[str]) -> Iterator[Fault]:
    """The fault of a task or modality that the config does not declare."""
    if name is not None and name not in names:
        yield address, f"{name!r} is not a {what} of this config{_nearest(name, names)}"


def _nearest(name: str, names: Collection[str]) -> str:
    return did_you_mean(name, names) or (f"; known here: {', '.join(map(repr, names))}" if names else "")


def _id_pattern(text: str) -> tuple[IdPattern | None, str]:
    """The id pattern, None if it is no regular expression; and what is wrong with it, or an empty text."""
    if not text:
        return IdPattern(text), r"missing; write the regular expression of the record ids, such as 'REC-\d+'"
    try:
        ids = IdPattern(text)
    except PatternError as error:
        return None, error.one_line
    placeholder = _PLACEHOLDER.search(text)
    if placeholder is None:
        return ids, ""
    as_groups = _PLACEHOLDER.sub(
        lambda field: f"(?P<{field['name']}>{field['regex'] or '[A-Za-z0-9]+'})", text
    )
    wrong = f"{placeholder[0]} is plain text in a regular expression, not a placeholder; write a named group"
    return ids, rf"{wrong}, '{as_groups}' (or '\{{' for a brace in the ids)"


def _name_faults(address: Address, name: str, what: str) -> Iterator[Fault]:
    """Faults of a name: it becomes a file or a folder, so it must be a single plain part of a path."""
    if name in ("", ".", "..") or re.search(r"[/\\\x00-\x1f]", name):
        yield address, f"{name!r} cannot name a {what}: it must be a plain file name"
    elif what == "step" and name.endswith(".py"):
        yield address, f"{name!r} is a file name; write the step's name {name[:-3]!r}"


def _list_faults(address: Address, names: Sequence[str], *, script: bool = True) -> Iterator[Fault]:
    for n, name in enumerate(names):
        if name in names[:n]:
            yield (*address, n), f"{name!r} stands twice in the list"
        elif script:
            yield from _name_faults((*address, n), name, "step")


def _modality_faults(modality: str, config: ModalityConfig, model: Document) -> Iterator[Fault]:
    address: Address = ("modalities", modality)
    yield from _name_faults(address, modality, "modality")
    yield from _list_faults((*address, "scripts"), config.scripts)
    for task, names in config.task_scripts.items():
        here = (*address, "task_scripts", task)
        yield from _list_faults(here, names)
        yield from _unknown_name(here, task, "task", model.tasks)
        if task in model.tasks and modality not in model.tasks[task].modalities:
            yield here, f"the task {task!r} does not have the modality {modality!r}"
        for n, name in enumerate(names):
            if name in config.scripts:
                yield (*here, n), f"{name!r} stands in {dotted((*address, 'scripts'))} too"


def _processed_faults(key: str, config: ProcessedConfig, model: Document) -> Iterator[Fault]:
    address: Address = ("processed", key)
    yield from _unknown_name((*address, "task"), config.task, "task", model.tasks)
    if unknown := list(_unknown_name((*address, "modality"), config.modality, "modality", model.modalities)):
        yield from unknown
        return
    scopes = [model.modalities[config.modality]] if config.modality else list(model.modalities.values())
    labels = {label for scope in scopes for label in scope.steps(config.task)} | set(model.steps.scripts)
    if config.step_label is not None and config.step_label not in labels:
        near = _nearest(config.step_label, sorted(labels))
        yield (*address, "step_label"), f"{config.step_label!r} is not a step of its scope{near}"


def _command_faults(
    name: str, config: CommandConfig, model: Document, ids: IdPattern | None
) -> Iterator[Fault]:
    """Faults of a command step; its placeholders can be checked before it runs."""
    from sinagot_catalog.scripts import leaves, parse_command, path_names

    address: Address = ("steps", name)
    yield from _name_faults(address, name, "step")
    if not config.command.strip():
        example = "Rscript clean.R {input} {output}"
        yield (*address, "command"), f"missing; write the program and its arguments, such as {example!r}"
        return
    if ids is None:
        return
    fields = ["id", *ids.groups, *(("task", "modality") if model.tasks or model.modalities else ())]
    has_tables = model.records.metadata or any(one.models.dataframe_path for one in model.modalities.values())
    for key in ("inputs", "outputs", "control"):
        try:
            if key == "inputs":
                parse_inputs(config.inputs, fields=WithColumns(fields) if has_tables else fields)
            else:
                parse_labelled(getattr(config, key), fields=fields)
        except PatternError as error:
            yield (*address, key), error.message
    try:
        parameters = {
            f"params.{key}" for task in (None, *model.tasks) for key in leaves(params_of(model, name, task))
        }
        parse_command(config.command, [*path_names(config.patterns), *fields, *sorted(parameters)])
    except PatternError as error:
        yield (*address, "command"), error.message
