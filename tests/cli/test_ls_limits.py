"""`ls` with a limit: the first rows, their number, and what is read for them."""

from __future__ import annotations

import json

import pytest
from sinagot_catalog.cli import call
from sinagot_catalog.storage import local


@pytest.fixture
def folder(write_workspace):
    return write_workspace({"a": ("raw/{id}", "a/{id}")}, [f"raw/R{n:02}" for n in range(20)])


@pytest.mark.parametrize("table", ["records", "units", "files", "steps"])
def test_a_limit_gives_the_first_rows_and_the_number_of_all(folder, cli, table):
    done = cli("ls", table, "-C", folder, "--limit", "3", "--json")
    every = cli("ls", table, "-C", folder, "--limit", "0", "--json")
    assert json.loads(done.stdout) == json.loads(every.stdout)[:3]
    assert "(3 of 20 rows; --limit 0 for all)" in done.stderr
    assert "of 20" not in every.stderr


@pytest.mark.parametrize(
    ("words", "n"), [((), 3), (("--where", "record_id > 'R05'"), 3), (("--sort", "-size"), 20)]
)
def test_sizes_are_read_only_of_the_files_that_are_shown(folder, monkeypatch, words, n):
    read: list[str] = []
    stat = local.LocalStore.stat

    def counted(self, paths):
        read.extend(paths)
        return stat(self, paths)

    monkeypatch.setattr(local.LocalStore, "stat", counted)
    assert call(["ls", "files", "-C", str(folder), "--limit", "3", *words]) == 0
    assert len([path for path in read if path.startswith("raw/")]) == n


@pytest.mark.parametrize("words", [("--sort", "-record_id"), ("--where", "record_id > 'R18'")])
def test_order_and_filters_come_before_the_limit(folder, cli, words):
    done = cli("ls", "-C", folder, "--limit", "1", "--columns", "record_id", "--csv", *words)
    assert done.stdout.splitlines() == ["record_id", "R19"]
