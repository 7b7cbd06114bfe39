"""Tables on disk: the tables that users keep, and those that steps write.

In: files behind a store. Out: the metadata of records, the exclusions, lazy frames over many result files, columns
of values that steps wrote.

Begin with `metadata` and `exclusions` (tables that users keep), `read_files` (result files as one frame) and
`file_columns` (values as columns of `records`).
"""
