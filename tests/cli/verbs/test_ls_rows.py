"""`ls`: which rows it takes, and what is read for them."""

from __future__ import annotations

import json

import pytest

from sinagot_catalog.cli import call
from sinagot_catalog.storage.local import store as local


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


@pytest.mark.parametrize(
    ("line", "ids"),
    [
        ("ls --status ready", ["R1", "R2", "R3"]),
        ("ls --status done", ["R3"]),
        ("ls --status done --record R1", []),
        ("ls units --record R1 --record R3", ["R1", "R3"]),
        ("ls files --record R3", ["R3", "R3"]),
        ("ls files --step a --record R3", ["R3", "R3"]),
        ("ls steps --step b --status init", ["R1", "R2"]),
        ("ls steps --where record_id>'R1' --status READY", ["R2", "R3"]),
        ("ls links --step b --record R2", ["R2", "R2"]),
    ],
)
def test_ls_takes_the_options_of_run_that_choose_rows(said, write_workspace, line, ids):
    folder = write_workspace(
        {"a": ("raw/{id}", "a/{id}"), "b": ("a/{id}", "b/{id}")}, ["raw/R1", "raw/R2", "raw/R3", "a/R3"]
    )
    code, out, _ = said(*line.split(), "-C", folder, "--csv", "--columns", "record_id")
    assert (code, out.split()[1:]) == (0, ids)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("ls", "--step", "aa"), "did you mean 'a'?"),
        (("ls", "events", "--step", "aa"), "did you mean 'a'?"),
        (("ls", "--status", "redy"), "did you mean 'READY'?"),
        (("ls", "files", "--record", "x/y"), "'x/y'"),
        (("ls", "links", "--status", "done"), "--status does not apply to links"),
    ],
)
def test_names_that_cannot_exist_are_refused_by_ls(said, folder, words, text):
    code, _, err = said(*words, "-C", folder)
    assert code == 2
    assert text in err


def test_the_next_command_names_the_record(said, folder):
    _, out, _ = said("status", folder, "--record", "R03")
    assert f"next: sinagot-catalog run {folder} --record R03" in out
