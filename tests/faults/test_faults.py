"""Whatever kills a run at whatever moment: no output is partial, none is lost, the next run completes the work."""

import sys

import pytest

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="processes are found and killed through /proc"
)


@pytest.mark.slow
def test_runs_in_processes_lose_nothing(attack, fault_kinds, share):
    attack("processes", fault_kinds.values(), share(20, 0.7))


@pytest.mark.slow
def test_runs_in_the_main_process_lose_nothing(attack, fault_kinds, share):
    kinds = [one for one in fault_kinds.values() if one.aim != "worker" and one.whom == "self"]
    attack("main_process", kinds, share(6, 0.2))


@pytest.mark.usefixtures("prefect_server")
def test_flows_lose_nothing(attack, fault_kinds, share):
    names = ("SIGKILL of the run", "SIGKILL of a worker", "SIGTERM", "Ctrl-C", "between two publishes, all")
    attack("flow", [fault_kinds[name] for name in names], share(4, 0.1))
