"""Planning: decides which rows run, in which order, and why the others do not.

In: selected rows of `steps` and the options of a run. Out: a `Plan`; nothing is written.

Begin with `request` (from a selection to its rows), then `planner` (from rows to a plan). `step_order` and
`upstream` give the order and what it needs, `volume` the bytes to read; `preflight` and `replaced_outputs` check a
plan before its rows are claimed.
"""
