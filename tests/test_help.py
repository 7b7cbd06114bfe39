"""`help()` of public names: each example runs when a user pastes it into a new session."""

import doctest
import inspect
import json
import re
from importlib import import_module

import pytest

import sinagot_catalog
from sinagot_catalog import diagnostics, example, flows, models, reporting
from sinagot_catalog.catalog import Diff
from sinagot_catalog.run import Plan
from sinagot_catalog.selection import Selection
from sinagot_catalog.steps import Step, StepCollection

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def documented():
    """Every public object with a docstring: exported names, and what their methods return."""
    homes = [(module, module.__all__) for module in (sinagot_catalog, models)]
    homes.append((flows, [name for name in flows.__all__ if name[0].isupper()]))
    found = {name: getattr(module, name) for module, names in homes for name in names}
    found |= {one.__name__: one for one in (Selection, StepCollection, Step, Plan, Diff)}
    found |= {
        one.__name__: one for one in (diagnostics.Explanation, diagnostics.PatternReport, reporting.Plot)
    }
    for name, value in sorted(found.items()):
        yield name, value
        if inspect.isclass(value):
            for key, member in sorted(vars(value).items()):
                if not key.startswith("_") and not isinstance(member, value):
                    yield f"{name}.{key}", member


WITH_EXAMPLE = {name: value for name, value in documented() if ">>>" in (inspect.getdoc(value) or "")}


@pytest.mark.parametrize("name", WITH_EXAMPLE)
def test_an_example_in_help_runs_in_a_new_session(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    test = doctest.DocTestParser().get_doctest(
        inspect.getdoc(WITH_EXAMPLE[name]), {"__name__": "__main__"}, name, None, None
    )
    out = []
    failed, tried = doctest.DocTestRunner(optionflags=FLAGS, verbose=False).run(test, out=out.append)
    assert tried
    assert not failed, "".join(out)


def test_most_public_classes_and_the_methods_of_a_selection_have_examples():
    assert {
        "Workspace",
        "Selection",
        "RecordCollection",
        "Record",
        "StepCollection",
        "ScriptTemplate",
    } <= set(WITH_EXAMPLE)
    assert len(WITH_EXAMPLE) > 25


def test_an_example_has_a_folder_of_its_own_and_as_many_days_as_it_should():
    first, second = example(), example(days=1)
    assert (first.records.count(), second.records.count()) == (3, 1)
    assert first.data_path != second.data_path


def test_help_of_the_package_names_no_fixture_of_its_tests():
    for name, value in documented():
        assert "getfixture" not in (inspect.getdoc(value) or ""), name
    assert import_module("sinagot_catalog.cli.examples").__all__


def keys_in(value):
    """Every key of a JSON value, at any depth; the options of a run and the names of steps are no keys."""
    if isinstance(value, dict):
        return set(value).union(
            *(keys_in(below) for key, below in value.items() if key not in ("run", "steps"))
        )
    return set().union(*map(keys_in, value)) if isinstance(value, list) else set()


@pytest.mark.parametrize("verb", ["status", "explain", "doctor"])
def test_the_help_of_a_verb_names_every_key_of_its_json(cli, write_workspace, verb):
    steps = {"clean": ("raw/{id}", "clean/{id}"), "mean": ("clean/{id}", "mean/{id}")}
    folder = write_workspace(steps, ["raw/R1", "raw/wrong name"])
    row = ("R1", "mean") if verb == "explain" else ()
    shown = json.loads(cli(verb, *row, "-C", folder, "--json").stdout)
    told = set(re.findall(r"\w+", cli(verb, "--help").stdout.partition("keys of --json")[2]))
    assert keys_in(shown) <= told | {"step"}
