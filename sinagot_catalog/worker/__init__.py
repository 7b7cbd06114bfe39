"""One row in a worker process: find its inputs, run its script in a staging folder, publish its outputs.

In: batches of rows over a pipe (`__main__`), or a call (`job`). Out: files at their final paths, journal lines, one
result per row. Standard library only, so that a worker is ready in 0.15 s; `remote_files` alone loads the storage.
"""
