"""What tests share: a home of their own, and one real Prefect server for the whole session."""

import os
from collections.abc import Iterator

import pytest

from sinagot_catalog import _server


@pytest.fixture(scope="session", autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the user's Prefect and the user's local server out of the tests, and leave no server behind."""
    own = {
        "SINAGOT_CATALOG_HOME": str(tmp_path_factory.mktemp("sinagot-home")),
        "PREFECT_HOME": str(tmp_path_factory.mktemp("prefect-home")),
    }
    before = dict(os.environ)
    for name in [name for name in os.environ if name.startswith("PREFECT_")]:
        del os.environ[name]
    os.environ.update(own)
    yield
    os.environ.update(own)
    _server.stop(timeout=5)
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="session")
def prefect_server(own_home: None) -> Iterator[_server.LocalServer]:  # noqa: ARG001
    """The local server of the session: `api_url`, `auth`, `url`.

    A program that is started by a test finds it by itself, through the environment.
    """
    server = _server.start()
    server.wait_healthy(90)
    yield server
    _server.stop(timeout=5)
