"""The spec of a run: all that its workers need to know to run rows, built from an open workspace."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING, Literal

import polars as pl

from sinagot_catalog.journal import (
    Port,
    RunSpec,
    StepSettings,
    UnitStepSpec,
    new_run_id,
    pack_metadata,
    unrecorded,
)
from sinagot_catalog.worker import links_among, parents

if TYPE_CHECKING:
    from sinagot_catalog.catalog import Layout, Link, Session, UnitStep
    from sinagot_catalog.patterns import Template
    from sinagot_catalog.run.options import RunOptions


def build_spec(source: Session, run_id: str, options: RunOptions, rows: pl.DataFrame) -> RunSpec:
    """Build the spec of a run.

    Args:
        source: The session of the workspace.
        run_id: The name of the run.
        options: The options of the run.
        rows: The rows to run.
    """
    # An earlier run ended while it published these rows, so some outputs may be new and some old: existing outputs
    # do not mean that the row is done.
    half = rows.filter(pl.col("_event").is_in(["publishing", "half"]))["row"]
    config = source.config
    layout = source.layout()
    return RunSpec(
        run_id=run_id,
        dataset=config.dataset,
        outputs=config.outputs,
        log=config.log,
        scripts=source.scripts,
        id_pattern=config.ids.text,
        cells=tuple(cell_spec(source, cell) for cell in layout.cells),
        workspace_version=config.info.version,
        force=options.force or bool(options.causes(config)),
        ignore_missing=options.ignore_missing,
        debug=options.debug,
        durable=config.run.durable,
        log_level=config.logging.level,
        threads_per_worker=config.run.threads_per_worker,
        memory_limit=config.run.memory_limit,
        redo=frozenset(half),
        unrecorded=None if options.force else unrecorded(rows, source.events(), source.catalog()),
        empty_outputs=config.run.empty_outputs,
        links=_literal_links(source),
        follow_links=config.path.follow_links,
        recordings=_recordings(source),
        metadata=_metadata(source, rows),
        path_values=_path_values(source, rows),
    )


def spec_of_one(source: Session, cell: UnitStep, record_id: str) -> RunSpec:
    """The spec of one step for one record, to be run by hand; lists the workspace only for tables of records."""
    config, layout = source.config, source.layout()
    rows = pl.DataFrame({"record_id": [record_id], "_cell": [cell.index]})
    step = cell_spec(source, cell)
    return RunSpec(
        new_run_id(),
        config.dataset,
        config.outputs,
        config.log,
        source.scripts,
        config.ids.text,
        (replace(step, by=None, inputs=tuple(replace(port, per="row") for port in step.inputs)),),
        follow_links=config.path.follow_links,
        metadata=_metadata(source, rows) if config.metadata else None,
        path_values=_path_values(source, rows) if layout.columns else None,
    )


def _metadata(source: Session, rows: pl.DataFrame) -> bytes | None:
    """What the metadata tables tell of the records of a run; None without tables."""
    catalog = source.catalog()
    if not catalog.tables:
        return None
    return pack_metadata(catalog.metadata.join(rows, on="record_id", how="semi").to_dict(as_series=False))


def _path_values(source: Session, rows: pl.DataFrame) -> bytes | None:
    """The metadata columns that paths of inputs name; None if there are none."""
    catalog = source.catalog()
    names = {name for names in catalog.layout.columns.values() for name in names}
    if not names:
        return None
    values = catalog.path_values.select("record_id", *sorted(names))
    of_groups = [cell.index for cell in catalog.layout.cells if cell.by is not None]
    if not rows["_cell"].is_in(of_groups).any():  # a group reads the paths of its members
        values = values.join(rows, on="record_id", how="semi")
    return pack_metadata(values.to_dict(as_series=False))


def _recordings(source: Session) -> tuple[Template, ...]:
    """The patterns of raw data that make records, if outputs are published in the dataset."""
    if not f"{source.config.outputs}/".startswith(f"{source.config.dataset}/"):
        return ()
    layout = source.layout()
    return tuple(
        layout.places[place].template
        for place in layout.raw
        if place in layout.telling - layout.silent and "dataset" in layout.places[place].telling
    )


def _literal_links(source: Session) -> dict[str, str]:
    """The literal folders of outputs that are symbolic links now, each with its target."""
    store = source.stores.get("outputs", source.stores["dataset"])
    if not store.is_local:
        return {}
    layout = source.layout()
    prefixes = {layout.places[place].template.prefix for cell in layout.cells for place in cell.written}
    return links_among(store.root, {folder for prefix in prefixes for folder in parents(prefix)})


def cell_spec(source: Session, cell: UnitStep) -> UnitStepSpec:
    """The spec of one unit step."""
    places = source.layout().places

    def input_port(port: list[Link]) -> Port:
        kind = _kind_of(source.layout(), cell, port)
        first, *others = [
            Port(
                link.label,
                places[link.place].template,
                inside(link.place),
                places[link.place].roots,
                is_optional=link.is_optional,
                per=kind,
            )
            for link in port
        ]
        return replace(first, others=tuple(others))

    def ports(role: str) -> tuple[Port, ...]:
        bound = [(link.label, places[link.place]) for link in cell.linked(role)]
        return tuple(Port(label, place.template, (), place.roots) for label, place in bound)

    def inside(place: int) -> tuple[Template, ...]:
        return tuple(places[folder].template for folder in source.layout().raw_folders.get(place, ()))

    return UnitStepSpec(
        **{shared.name: getattr(cell, shared.name) for shared in fields(StepSettings)},
        inputs=tuple(input_port(port) for port in cell.input_ports),
        outputs=ports("output"),
        controls=ports("control"),
        code=source.code_of(cell),
        member_by=None if cell.by is None else source.layout().member_by(cell),
    )


def _kind_of(layout: Layout, cell: UnitStep, port: list[Link]) -> Literal["row", "member", "shared"]:
    """Whether an input of a group step belongs to the group, to each member, or to several members."""
    if layout.is_own(cell, port):
        return "row"
    lower = layout.member_by(cell)
    templates = [layout.places[link.place].template for link in port]
    names_member = any(
        layout.ids.is_told_by(template) if lower is None else set(lower) <= template.fields
        for template in templates
    )
    return "member" if names_member else "shared"
