"""Pattern <-> path <-> row; knows no storage and no steps.

`_template` parses and fills one pattern with the standard library alone, so that a worker can use it;
`_columns` does the same for whole Polars columns.
"""
