"""Snapshots: store the tables of a catalog, open them without a listing, and compare two of them.

Begin with `snapshot_files` (the files in `LOG/snapshots`), then `snapshot_diff` (the changes between two states).
"""
