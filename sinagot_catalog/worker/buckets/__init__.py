"""The files of a row in buckets: fetched before its script runs, uploaded after it.

The only folder of `worker` that loads the storage libraries, and only for a run on a bucket.

Begin with `remote_files`. `fetched_files` and `prefetcher` bring inputs to this machine, `remote_publisher` uploads
outputs, `outages` repeats a call while a store is away.
"""
