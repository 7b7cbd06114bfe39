"""Doors of folders: what a folder exports is there, and nothing else."""

from importlib import import_module

import pytest

FOLDERS = [
    *("catalog", "cli", "cluster", "config", "diagnostics", "flows", "journal"),
    *("patterns", "reporting", "run", "scripts", "storage", "ui", "worker"),
]


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_name_that_a_folder_exports_is_there(folder):
    from sinagot_catalog.startup import _imports_for_types

    package = import_module(f"sinagot_catalog.{folder}")
    homes = _imports_for_types(package.__name__)
    assert homes
    for name, home in homes.items():
        assert home.startswith(f"sinagot_catalog.{folder}.")
        assert getattr(package, name) is not None


@pytest.mark.parametrize("folder", FOLDERS)
def test_other_names_of_a_folder_raise_an_attribute_error(folder):
    with pytest.raises(
        AttributeError, match=rf"module 'sinagot_catalog.{folder}' has no attribute 'nothing'"
    ):
        import_module(f"sinagot_catalog.{folder}").nothing  # noqa: B018
