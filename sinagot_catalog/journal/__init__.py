"""What runs wrote down: their events, which rows they hold, and how they ended.

In: the events of running rows. Out: the last event of each row, and the claims of live runs. All of it lies in
`LOG/`, one file per process of a run, and no file is ever written by two processes.

Begin with `reader` (the protocol on one page), then `writer` (the lines) and `claims` (which run holds which row).
Workers import `writer`, `run_spec`, `process_identity` and `tail`: these use the standard library only.
"""
