"""Batches of rows on a Dask or Ray cluster: the same work as in the local pool, on other machines.

In: the batches of a run and the address of a cluster. Out: the result of each row. Only this package imports
Dask and Ray. Begin with `executor`, which `flows` hands to a run: it sends the batches, and a cluster worker runs
`remote_batch`. `slurm` submits a run in parts as batch jobs, each a run of its own.
"""

from typing import TYPE_CHECKING

from sinagot_catalog.startup import lazy_exports

if TYPE_CHECKING:
    from sinagot_catalog.cluster.cluster_address import ClusterAddress
    from sinagot_catalog.cluster.executor import ClusterExecutor
    from sinagot_catalog.cluster.slurm import SlurmRun
    from sinagot_catalog.cluster.slurm_request import requests

__getattr__ = lazy_exports(__name__)
