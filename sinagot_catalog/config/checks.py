"""Checks of a config document: find its faults, each with its address and a sentence in our own wording."""

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, get_args

from sinagot_catalog.config.model import (
    CommandConfig,
    Document,
    ModalityConfig,
    PrefectSection,
    ProcessedConfig,
    RecordsSection,
)
from sinagot_catalog.config.parameters import parameter_faults, params_of
from sinagot_catalog.config.record_keys import match_of
from sinagot_catalog.config.resources import resource_faults
from sinagot_catalog.config.validator import Address, validate
from sinagot_catalog.config.validator import Fault as Misfit
from sinagot_catalog.errors import PatternError, did_you_mean
from sinagot_catalog.patterns import IdPattern, WithColumns, parse_inputs, parse_labelled

Fault = tuple[Address, str]
Table = dict[str, Any]

_NOT_NAMED = ("dask", "commands", "step_params", "step_resources")
_WIDTH = 60  # characters of a wrong value that a message shows


def validated(document: Table) -> tuple[Document, list[Fault]]:
    """Validate a document: return its model without the faulty parts, and the faults."""
    model, misfits = validate(Document, document)
    if model is not None:
        return model, []
    faults = [(_written(misfit.address), _sentence(misfit)) for misfit in misfits]
    for misfit in misfits:
        _cut(document, _written(misfit.address), is_table=misfit.is_section)
    return validate(Document, document)[0] or Document(), faults


def own_sections(document: Table) -> list[str]:
    """The sections that belong to the user: their names do not resemble a section of this library."""
    names = [field.name for field in fields(Document)]
    return [
        name
        for name, value in document.items()
        if isinstance(value, dict) and name not in names and not did_you_mean(name, names)
    ]


def _written(address: Address) -> Address:
    """An address as the toml writes it: the model keeps `[steps.X]` in two of its own keys."""
    if address[:1] == ("steps",) and address[1:2] in (("step_params",), ("step_resources",)) and address[2:]:
        return (address[0], address[2], str(address[1]).removeprefix("step_"), *address[3:])
    return address[:1] + address[2:] if address[:2] == ("steps", "commands") and address[2:] else address


def _cut(document: Table, address: Address, *, is_table: bool) -> None:
    """Remove a faulty value, so that the rest of the document can be checked."""
    place: Any = document
    *parents, last = address[: next((n for n, key in enumerate(address) if isinstance(key, int)), None)]
    for key in parents:
        place = place.get(key, {})
    if is_table:
        place[last] = {}
    else:
        place.pop(last, None)


def _sentence(misfit: Misfit) -> str:
    if not misfit.sentence:
        return _unknown(misfit.address, misfit.value)
    shown = "the value" if misfit.address[0] in ("storage", "dask") else _shown(misfit.value)
    hint = (
        f"; write [{shown}]" if misfit.sentence == "is not a list" and isinstance(misfit.value, str) else ""
    )
    return f"{shown} {misfit.sentence}{hint}"


def _unknown(address: Address, value: object) -> str:
    *parents, name = address
    what = "section" if isinstance(value, dict) else "key"
    names = _known(_section_at(tuple(parents)))
    near = did_you_mean(str(name), names, most=1)
    if not near:
        elsewhere = [
            f"{section.name}.{name}"
            for section in fields(Document)
            if (inner := _section_in(section.type)) is not None and name in _known(inner)
        ]
        near = f"; did you mean {elsewhere[0]!r}?" if elsewhere and what == "key" else ""
    own = "" if parents or near or what == "section" else "; values of your own need a section, such as [lab]"
    return f"unknown {what}{near or '; known here: ' + ', '.join(names)}{own}"


def _known(section: type) -> list[str]:
    return [
        field.name for field in fields(section) if field.name not in _NOT_NAMED and field.type is not object
    ]


def _section_in(hint: Any) -> type | None:
    if isinstance(hint, type) and is_dataclass(hint):
        return hint
    return next((one for inner in get_args(hint) if (one := _section_in(inner)) is not None), None)


def _section_at(address: Address) -> type:
    """The class of the section at an address."""
    section: type = Document
    for key in address:
        hint = next((field.type for field in fields(section) if field.name == key), None)
        section = _section_in(hint) or section
    return section


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


def _listed(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names)


def cross_checks(model: Document) -> Iterator[Fault]:
    """Find the faults that a single value does not show: they concern names, patterns or several sections."""
    yield from _id_faults(model.records)
    yield from _metadata_faults(model.records)
    paths = [modality.models.dataframe_path for modality in model.modalities.values()]
    has_table = model.records.metadata or any(path and "{" not in str(path) for path in paths)
    if model.records.expected and not has_table:
        yield ("records", "expected"), "true needs records.metadata, the table that names the records"
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
        yield from _command_faults(name, command, model)


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


def _metadata_faults(records: RecordsSection) -> Iterator[Fault]:
    """Metadata tables without a path, and keys that are not a field of the id."""
    try:
        fields = IdPattern(records.id_pattern).groups
    except PatternError:
        return
    for n, table in enumerate(records.metadata):
        if not table.path:
            yield ("records", "metadata", n, "path"), "missing; write the path of the table"
        for k, name in enumerate(table.key):
            if match_of(name, fields) is None:
                keys = ["record_id", *fields]
                yield (
                    ("records", "metadata", n, "key", k),
                    f"{name!r} is not a field of id_pattern{_nearest(name, keys)}",
                )


def _unknown_name(address: Address, name: str | None, what: str, names: Collection[str]) -> Iterator[Fault]:
    """The fault of a task or modality that the config does not declare."""
    if name is not None and name not in names:
        yield address, f"{name!r} is not a {what} of this config{_nearest(name, names)}"


def _nearest(name: str, names: Collection[str]) -> str:
    return did_you_mean(name, names) or (f"; known here: {_listed(list(names))}" if names else "")


def _id_faults(records: RecordsSection) -> Iterator[Fault]:
    address = ("records", "id_pattern")
    if not records.id_pattern:
        yield address, r"missing; write the regular expression of the record ids, such as 'REC-\d+'"
        return
    try:
        IdPattern(records.id_pattern)
    except PatternError as error:
        yield address, error.one_line
        return
    if placeholder := _PLACEHOLDER.search(records.id_pattern):
        as_groups = _PLACEHOLDER.sub(
            lambda field: f"(?P<{field['name']}>{field['regex'] or '[A-Za-z0-9]+'})", records.id_pattern
        )
        text = (
            f"{placeholder[0]} is plain text in a regular expression, not a placeholder; write a named group"
        )
        yield address, rf"{text}, '{as_groups}' (or '\{{' for a brace in the ids)"


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


def _command_faults(name: str, config: CommandConfig, model: Document) -> Iterator[Fault]:
    """Faults of a command step; its placeholders can be checked before it runs."""
    from sinagot_catalog.scripts import leaves, parse_command, path_names

    address: Address = ("steps", name)
    yield from _name_faults(address, name, "step")
    if not config.command.strip():
        example = "Rscript clean.R {input} {output}"
        yield (*address, "command"), f"missing; write the program and its arguments, such as {example!r}"
        return
    try:
        groups = IdPattern(model.records.id_pattern).groups
    except PatternError:
        return  # already reported; placeholders cannot be checked without it
    fields = ["id", *groups, *(("task", "modality") if model.tasks or model.modalities else ())]
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
