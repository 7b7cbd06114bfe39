"""Deployments: a filter over a workspace that Prefect runs by a schedule or on request.

In: a selection, options and a schedule. Out: a deployment in Prefect, or a process that serves it.

Begin with `deployment_spec` (describes and checks it), then `deployer` (sends it). `deployment_params` reads what a
running deployment was made for. `flows.flow` is what it runs.
"""
