"""Worker processes, seen from the run that starts them: the pool and what it is made of.

In: groups of rows from a claimed run. Out: their results. What happens inside such a process is in `worker`.

Begin with `pool`, which is the executor. It takes groups from `batch_queue` and gives them to worker slots; a
`worker_slot` drives one `worker_process` after the other, and `recovery` resolves the rows of one that died.
"""
