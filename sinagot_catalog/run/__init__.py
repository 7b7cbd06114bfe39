"""Many rows: from a selection to a plan, to a claim, to running workers, to a report.

In: selected rows of `steps` and the options of a run. Out: a `Plan`, or a `RunReport`. `plan` decides what runs,
`execution` claims the rows and drives them, `pool` and `worker_slot` run the worker processes, `watch` repeats it.
"""
