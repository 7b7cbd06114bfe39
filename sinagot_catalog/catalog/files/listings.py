"""Listings: lists the roots of a workspace, as far as the patterns of its layout lead."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from sinagot_catalog.storage import IdRange, KeyFilter, Listing, from_keys, reach_of, read_listing, scan

if TYPE_CHECKING:
    from sinagot_catalog.catalog.session import Session
    from sinagot_catalog.catalog.structure.layout import Layout
    from sinagot_catalog.patterns import Template


def key_filter(source: Session, layout: Layout, root: str, span: IdRange) -> KeyFilter:
    """Return the filter of the keys of a root for a range of records."""
    return KeyFilter(
        span, [place.template for place in layout.places if root in place.roots], source.config.ids
    )


def list_root(source: Session, root: str, layout: Layout) -> Listing:
    """List one root of a workspace, or read the listing that the user provides for it."""
    store, is_given = source.stores[root], root == "dataset" and source.given is not None
    if root == "dataset" and not is_given:
        store.check()
    templates = [place.template for place in layout.places if root in place.roots]
    reach = reach_of(
        [*templates, *layout.entries(root)],
        everything=source.everything,
        follow_links=source.config.path.follow_links,
    )
    wanted = None if source.span is None else key_filter(source, layout, root, source.span)
    if is_given:
        listing = from_keys(read_listing(source.given, source.config.dataset, source.options, wanted), reach)
    else:
        listing = scan(store, reach)
    if wanted is not None and not (is_given and wanted.is_exact):
        listing = wanted.narrowed(listing)
    return source.exclusions.left_out_of(listing, store.root)


def owned_paths(source: Session, layout: Layout) -> dict[str, pl.Expr]:
    """Return which paths of a root count in a range of records, for the roots where not all of them do."""
    part, span = source.ranges.part, source.span
    if part is None or span is None:
        return {}
    filters = {root: key_filter(source, layout, root, span) for root in source.stores}
    return {
        root: wanted.owns(pl.col("path"), is_first=part == 0)
        for root, wanted in filters.items()
        if root != "dataset" or wanted.is_shared
    }


def paths_near(source: Session, template: Template) -> pl.Series:
    """Return the paths in the folders that a pattern names; if they are empty, all listed paths."""
    for everything in (False, True):
        reach = reach_of([template], everything=everything, follow_links=source.config.path.follow_links)
        listed = pl.concat([scan(store, reach).paths for store in source.stores.values()])
        kind = "directory" if template.is_directory else "file"
        wanted = listed.filter(pl.col("kind") == kind) if not everything or template.is_directory else listed
        if not wanted.is_empty():
            break
    return wanted["path"].unique().sort()
