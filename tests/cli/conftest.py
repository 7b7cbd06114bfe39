"""Fixtures of the command line."""

from __future__ import annotations

import pytest

from sinagot_catalog.cli import call


@pytest.fixture
def said(capsys):
    """Run a command in this process: its code, what it printed, and its messages."""

    def run(*words):
        try:
            code = call([str(word) for word in words])
        except SystemExit as end:
            code = end.code
        done = capsys.readouterr()
        return code, done.out, done.err

    return run
