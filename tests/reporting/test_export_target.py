"""Pages and tables are never written over data, results, scripts, the config or files of another program."""

import polars as pl
import pytest

from sinagot_catalog import Workspace
from sinagot_catalog.errors import UsageError

HARBOUR = {"a": ("raw/{id}", "out/{id}")}
FILES = [
    "dataset/raw/R1",
    "dataset/out/R1",
    "dataset/people.csv",
    "scripts/a.py",
    "workspace.toml",
    "ages.csv",
]


@pytest.fixture
def folder(write_workspace):
    folder = write_workspace(
        HARBOUR, ["raw/R1", "people.csv"], toml='[records]\nid_pattern = "R1"\nmetadata = "ages.csv"'
    )
    (folder / "ages.csv").write_text("record_id,age\nR1,40\n")
    assert Workspace(folder).steps.run(mode="main_process", progress=False).ok
    return folder


VERBS = [
    ["report", "-o"],
    ["ls", "--parquet"],
    ["run", "--force", "--yes", "--parquet"],
    ["plan", "--parquet"],
]


@pytest.mark.parametrize(
    ("words", "name"),
    [*((words, FILES[0]) for words in VERBS), *((VERBS[n % 2], name) for n, name in enumerate(FILES[1:]))],
)
def test_files_of_the_workspace_are_not_replaced(folder, cli, words, name):
    before = (folder / name).read_bytes()
    done = cli(*words[:1], "-C", folder, *words[1:], folder / name)
    assert done.returncode == 2
    assert f"{folder / name} exists, and is not an earlier page or table of sinagot-catalog" in done.stderr
    assert (folder / name).read_bytes() == before


def test_a_link_to_raw_data_is_not_followed(folder):
    view = folder / "view.html"
    view.symlink_to("dataset/raw/R1")
    with pytest.raises(UsageError, match="is not an earlier page"):
        Workspace(folder).report(view)
    assert (folder / "dataset/raw/R1").read_text() == "raw;"


@pytest.mark.parametrize("where", ["dataset", "."])
def test_an_earlier_page_or_table_is_replaced(folder, cli, where):
    for _ in range(2):
        assert cli("report", folder, "-o", folder / where / "report.html").returncode == 0
        assert cli("ls", "-C", folder, "--parquet", folder / where / "rows.parquet").returncode == 0
    assert pl.read_parquet(folder / where / "rows.parquet").height == 1


@pytest.mark.parametrize("where", ["dataset", ".."])
def test_a_table_of_a_person_is_not_replaced(folder, cli, where):
    table = folder / where / "mine.parquet"
    pl.DataFrame({"x": [1]}).write_parquet(table)
    assert cli("ls", "-C", folder, "--parquet", table).returncode == 2
    assert pl.read_parquet(table).columns == ["x"]
