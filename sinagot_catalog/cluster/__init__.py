"""Batches of rows on a Dask or Ray cluster: the same work that the local pool does, on other machines.

In: the batches of a run and the address of a cluster. Out: the result of each row. The only package that imports
Dask and Ray. Begin with `runner`; `connect` opens the connection, `remote_batch` is what a worker there runs.
"""
