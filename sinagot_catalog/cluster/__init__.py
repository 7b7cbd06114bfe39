"""Batches of rows on a Dask or Ray cluster: the same work as in the local pool, on other machines.

In: the batches of a run and the address of a cluster. Out: the result of each row. Only this package imports
Dask and Ray. Begin with `runner`; `connect` opens the connection, and a cluster worker runs `remote_batch`.
"""

from typing import TYPE_CHECKING

from sinagot_catalog.lazy import lazy_exports

if TYPE_CHECKING:
    from sinagot_catalog.cluster.connect import ClusterConnection, open_cluster
    from sinagot_catalog.cluster.remote_batch import BatchRequest
    from sinagot_catalog.cluster.runner import ClusterRunner, check_cluster

__all__ = ["BatchRequest", "ClusterConnection", "ClusterRunner", "check_cluster", "open_cluster"]

__getattr__ = lazy_exports(
    __name__,
    {
        "connect": ("ClusterConnection", "open_cluster"),
        "remote_batch": ("BatchRequest",),
        "runner": ("ClusterRunner", "check_cluster"),
    },
)
