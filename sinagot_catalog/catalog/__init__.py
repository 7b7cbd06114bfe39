"""The catalog: every table of a workspace, derived from its layout, one listing and the journal.

In: a `Config`, what its scripts declare, a listing of the files, the last events of the journal. Out: the tables
`records`, `units`, `files`, `steps`, `links` as Polars frames, and the rows of a query over them.

Begin with `layout` (what config and scripts declare), then `tables` (the joins), `status_rules` (the rules of a
status) and `query` (filters over several tables). `session` holds one listing for an open workspace.
"""
