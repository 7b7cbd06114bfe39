"""Claimed runs: the rows that a run holds, from the claim to the report.

In: a `Plan`. Out: phases of groups of rows for an executor, and at the end a `RunReport`.

Begin with `claimed_run`. `lease` renews its claim, `spec_builder` and `group_file` write what its workers need,
`phases` and `row_waits` tell what may run now, `failure_limit` ends it early, `spool` is for a run on a bucket,
`report_builder` makes the frames of the end.
"""
