"""Record data: reads and writes the data files that a modality keeps of its records, and reads results by key."""

from __future__ import annotations

import json
from math import isfinite
from typing import TYPE_CHECKING, Any

import polars as pl

from sinagot_catalog.catalog import parse_json, scan_files
from sinagot_catalog.errors import NotFoundError, SelectionError, StorageError, did_you_mean
from sinagot_catalog.patterns import id_values, paths_of
from sinagot_catalog.schema import KEYS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sinagot_catalog.catalog import Link, Query, Resolver, Session
    from sinagot_catalog.config import Config

_TYPES: dict[str, Any] = {"str": pl.String, "int": pl.Int64, "float": pl.Float64}


# --- data of a modality --------------------------------------------------------------------------------------


def _data_place(source: Session, query: Query) -> int:
    """Return the bound pattern of a modality's data file.

    Raises:
        SelectionError: When the scope has no such modality.
    """
    name = query.modality
    plugin = source.config.modalities[name].models.plugin if name else None
    units = source.layout().units_in(query.task, name)
    if name is None:
        raise SelectionError(
            "data is kept by modality, and the scope has none",
            "Take one: ws.MODALITY.data, record.MODALITY.data.",
        )
    if plugin not in ("pandas", "table") or not units or not units[0].data:
        raise SelectionError(
            f"modality {name!r} keeps no data of its records",
            f'Set [modalities.{name}] models.plugin = "table" and models.data_path in workspace.toml.',
        )
    if len({unit.data for unit in units}) > 1:
        tasks = [str(unit.task) for unit in units]
        raise SelectionError(
            f"modality {name!r} keeps other data for each of {', '.join(tasks)}",
            f"Take one of them: {tasks[0]}.{name}.data.",
        )
    return units[0].data[0]


def data_path(source: Session, query: Query) -> str:
    """Return the path of one record's data file."""
    values = id_values(query.record or "", source.config.ids) or {}
    return source.layout().places[_data_place(source, query)].template.format(values)


def read_data(source: Session, query: Query) -> dict[str, Any] | None:
    """Return one record's data; None if its file is absent."""
    path = data_path(source, query)
    store = source.stores["dataset"]
    if not store.exists(path):
        return None
    found = parse_json(store.read(path), path)
    return found if isinstance(found, dict) else {"value": found}


def write_data(source: Session, query: Query, data: Mapping[str, Any]) -> None:
    """Replace one record's data; readers see either the old file or the new one."""
    path = data_path(source, query)
    values = {str(name): _plain(value) for name, value in dict(data).items()}
    try:
        text = json.dumps(values, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise SelectionError(f"the data cannot be written as JSON: {error}") from error
    source.stores["dataset"].write(path, text.encode())
    source.published(pl.DataFrame({"root": ["dataset"], "path": [path], "kind": ["file"]}))


def _plain(value: Any) -> Any:
    """Convert a value for JSON: numpy's numbers become Python's, a value that is no number becomes null."""
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not isfinite(value) else value


def data_frame(source: Session, resolver: Resolver, query: Query) -> pl.DataFrame:
    """Return the data of a scope's records: `record_id` and a column per key, a row per record with a data file."""
    place = _data_place(source, query)
    records = resolver.rows(query)
    there = records.filter(resolver.catalog.presence[place].gather(records["_rec"]))
    values = resolver.catalog.record_values[there["_rec"]]
    path = paths_of(resolver.layout.places[place].template).alias("path")
    files = values.select("record_id", pl.lit("dataset").alias("root"), path)
    return scan_files(source.stores, files, "json", {}).collect()


# --- results -------------------------------------------------------------------------------------------------


def outputs(
    resolver: Resolver, rows: pl.DataFrame, step: str | None, label: str | None, scope: Query | None = None
) -> pl.DataFrame:
    """Return the existing result files of rows of `steps`: key columns, `root` and `path`.

    Raises:
        SelectionError: When the rows have several steps, or the step several outputs, and none is named; when
            the scope has no such step.
    """
    layout = resolver.layout
    rows = rows.select("_rec", "_cell", *KEYS).with_row_index("_row")
    if step is not None:
        if step not in layout.steps:
            raise SelectionError(f"there is no step {step!r}{did_you_mean(step, layout.steps)}")
        units = layout.units if scope is None else layout.units_in(scope.task, scope.modality)
        inside = list(dict.fromkeys(layout.cells[cell].step for unit in units for cell in unit.cells))
        if step not in inside:
            raise SelectionError(
                f"step {step!r} is not one of this scope{did_you_mean(step, inside)}",
                f"Its steps: {', '.join(inside) or 'none'}.",
            )
        rows = rows.filter(pl.col("_cell").is_in([cell.index for cell in layout.cells if cell.step == step]))
    else:
        steps = rows["step"].unique(maintain_order=True).to_list()
        if len(steps) > 1:
            raise SelectionError(
                f"the rows have {len(steps)} steps: {', '.join(steps)}", "Name one of them: step=…."
            )
    parts = [pl.DataFrame(schema=_OUTPUTS)]
    for index in rows["_cell"].unique().sort():
        cell = layout.cells[index]
        link = _output(cell.linked("output"), cell.step, label)
        if link is not None:
            part = rows.filter(pl.col("_cell") == index)
            parts.append(resolver.catalog.port_paths([link], part).filter("exists").select(*_OUTPUTS))
    return pl.concat(parts).sort("_row").drop("_row")


_OUTPUTS = {"_row": pl.UInt32(), **KEYS, "root": pl.String(), "path": pl.String(), "_place": pl.UInt16()}


def each_once(resolver: Resolver, rows: pl.DataFrame) -> pl.DataFrame:
    """Return the files of `outputs`, each once: keys that its pattern does not name are null.

    If a file's pattern does not name its record, the fields that it names are separate columns.

    Raises:
        SelectionError: When they are folders.
    """
    layout = resolver.layout
    groups = layout.ids.groups
    parts = [rows.clear().with_row_index("_row")]
    for (place,), files in rows.with_row_index("_row").partition_by("_place", as_dict=True).items():
        template = layout.places[int(str(place))].template
        if template.is_directory:
            raise SelectionError(
                f"step {rows['step'][0]!r} makes a folder, {template.text}/, and scan_outputs reads files",
                "Declare a file in it as an output of its own, with a label.",
            )
        writers = [cell for cell in layout.cells if place in cell.places("output")]
        foreign = [key for key in ("task", "modality") if len({getattr(cell, key) for cell in writers}) > 1]
        part = files
        if not ("id" in template.fields or (groups and template.fields.issuperset(groups))):
            fields = [name for name in groups if name in template.fields]
            values = resolver.catalog.row_values.select("record_id", *fields)
            part = part.join(values, on="record_id", how="left", maintain_order="left")
            foreign += [] if any(cell.by is not None for cell in writers) else ["record_id"]
        if foreign:
            part = part.unique(["root", "path"], keep="first", maintain_order=True)
            part = part.with_columns(pl.lit(None, pl.String).alias(key) for key in foreign)
        parts.append(part)
    found = pl.concat(parts, how="diagonal").sort("_row")
    fields = [name for name in groups if name in found.columns]
    return found.select("record_id", *fields, "task", "modality", "step", "root", "path")


def _output(links: list[Link], step: str, label: str | None) -> Link | None:
    """Return the output with the given label, or the only output."""
    labels = [link.label for link in links if link.label is not None]
    if label is not None:
        if label not in labels:
            raise SelectionError(
                f"step {step!r} has no output {label!r}{did_you_mean(label, labels)}",
                f"Its outputs: {', '.join(labels) or 'one, without a label'}.",
            )
        return next(link for link in links if link.label == label)
    if len(links) > 1:
        raise SelectionError(
            f"step {step!r} has {len(links)} outputs", f"Name one: label= one of {', '.join(labels)}."
        )
    return links[0] if links else None


def scope_of_processed(config: Config, key: str) -> tuple[str | None, str | None]:
    """Return the task and modality of a key of `[processed]`.

    Raises:
        NotFoundError: When the config has no such key.
    """
    if key not in config.processed:
        raise NotFoundError(
            f"workspace.toml has no [processed.{key}]{did_you_mean(key, config.processed)}",
            f"It has: {', '.join(config.processed) or 'none'}.",
        )
    one = config.processed[key]
    return one.task, one.modality


def processed(source: Session, resolver: Resolver, rows: pl.DataFrame, key: str) -> pl.DataFrame:
    """Return the results that `[processed.KEY]` names, for rows of `steps`: `record_id` and the values.

    Raises:
        SelectionError: When a result has no column of a name in the config.
        StorageError: When a value is not of the type that the config names.
    """
    entry = source.config.processed[key]
    files = outputs(resolver, rows, entry.step_label, entry.path_label)
    files = files.select("record_id", "root", "path")
    if entry.data_getter == "single_data":
        name = entry.columns[0] if entry.columns else key
        empty = pl.DataFrame(schema={"record_id": pl.String, name: _TYPES[entry.data_type]})
        if files.is_empty():
            return empty
        texts = scan_files(source.stores, files, "text", {}).collect()
        values = texts.select(
            "record_id", pl.col("value").cast(_TYPES[entry.data_type], strict=False).alias(name)
        )
        wrong = values[name].is_null()
        if wrong.any():
            path, text = files.filter(wrong)["path"][0], texts.filter(wrong)["value"][0]
            raise StorageError(f"{path}: {text!r:.60} is no {entry.data_type}, as processed.{key} says")
        return values
    if files.is_empty():
        return pl.DataFrame(schema={"record_id": pl.String, **dict.fromkeys(entry.columns, pl.String)})
    if entry.data_getter == "dataframe_from_csv":
        ids = ("record_id", *source.config.ids.groups)
        return _chosen(scan_files(source.stores, files, "csv", {}, ids=ids).collect(), entry.columns, key)
    pairs = scan_files(
        source.stores, files, "csv", {"has_header": False, "new_columns": ["_key", "_value"]}
    ).collect()
    wide = pairs.filter(pl.col("_key").is_not_null()).pivot(
        "_key", index="record_id", values="_value", maintain_order=True
    )
    return _chosen(wide, entry.columns, key)


def _chosen(frame: pl.DataFrame, columns: Sequence[str], key: str) -> pl.DataFrame:
    """Return the columns that the config names; all of them if it names none."""
    for column in columns:
        if column not in frame.columns:
            near = did_you_mean(column, frame.columns)
            raise SelectionError(
                f"workspace.toml: processed.{key}.columns: the results have no {column!r}{near}",
                f"They have: {', '.join(frame.columns[1:])}.",
            )
    return frame.select("record_id", *columns) if columns else frame
