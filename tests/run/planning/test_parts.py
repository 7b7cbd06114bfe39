"""Parts: `part=(3, 8)`, `--part 3/8` and `--part last` divide a run over several machines."""

from zlib import crc32

import polars as pl
import pytest

from sinagot_catalog import Workspace
from sinagot_catalog.errors import SelectionError

CHAIN = {"clean": ("raw/{id}", "clean/{id}"), "peak": ("clean/{id}", "peak/{id}")}
LAB = {
    "clean": ("raw/{id}", "clean/{id}"),
    "site": ("clean/{id}", "site/{site}"),
    "plot": ("site/{site}", "plot/{id}"),
    "count": ("raw/{id}", "count/{id}"),
}
SITES = '\n[records]\nid_pattern = "(?P<site>[a-z]+)-\\\\d+"\n'
IDS = [f"R{n:03d}" for n in range(40)]


def rows(plan):
    return set(plan.frame.select("record_id", "step").rows())


@pytest.mark.parametrize("count", [1, 2, 7, 64])
def test_parts_share_no_row_and_have_all_rows_together(make_workspace, count):
    ws = make_workspace(CHAIN, [f"raw/{one}" for one in IDS])
    parts = [rows(ws.steps.plan(part=(number, count))) for number in range(1, count + 1)]
    assert sum(map(len, parts)) == 80
    assert set.union(*parts) == rows(ws.steps.plan())
    assert rows(ws.steps.plan(part="last")) == set()


def test_the_part_of_a_record_depends_on_its_id_alone(make_workspace):
    names = [*IDS, "Zürich-1", "日本"]
    ws = make_workspace(CHAIN, [f"raw/{one}" for one in names])
    expected = {one for one in names if crc32(one.encode()) % 8 == 2}
    assert {one for one, _ in rows(ws.steps.plan(part=(3, 8)))} == expected
    some = ws.records.filter(pl.col("record_id").is_in(names[::2])).steps
    assert {one for one, _ in rows(some.plan(part="3/8"))} == expected & set(names[::2])


def test_a_part_runs_its_own_rows_and_the_parts_finish_the_workspace(make_workspace):
    ws = make_workspace(CHAIN, [f"raw/{one}" for one in IDS[:9]])
    done = [ws.steps.run(part=(n, 3), mode="main_process", progress=False) for n in (1, 2, 3)]
    assert sum(report.counts()["done"] for report in done) == 18
    assert ws.steps.plan().n_run == 0


def test_rows_that_read_other_records_come_last_with_all_that_reads_them(make_workspace):
    names = [f"{site}-{n}" for site in ("lyon", "nice") for n in range(6)]
    ws = make_workspace(LAB, [f"raw/{one}" for one in names], toml=SITES)
    parts = [ws.steps.plan(part=(n, 3)) for n in (1, 2, 3)]
    assert {step for plan in parts for _, step in rows(plan)} == {"clean", "count"}
    assert sum(map(len, map(rows, parts))) == 24
    last = ws.steps.plan(part="last")
    assert {step for _, step in rows(last)} == {"site", "plot"}
    assert set.union(*map(rows, parts)) | rows(last) == rows(ws.steps.plan())
    assert last.n_run == 0  # the parts have yet to make the inputs
    for n in (1, 2, 3):
        assert ws.steps.run(part=(n, 3), mode="main_process", progress=False).ok
    assert ws.steps.run(part="last", mode="main_process", progress=False).counts()["done"] == 14
    assert ws.steps.plan().n_run == 0


GROUP = """
from sinagot_catalog import ScriptTemplate
class Script(ScriptTemplate):
    PATH_IN = "raw/{id}"
    PATH_OUT = "group/{site}"
    BY = ("site",)
    def run(self):
        self.path.output.write_text(" ".join(self.records))
"""


def test_rows_of_groups_belong_to_no_part_even_over_recorded_files(make_workspace):
    scripts = {"clean": ("raw/{id}", "clean/{id}"), "group": GROUP}
    ws = make_workspace(scripts, [f"raw/lyon-{n}" for n in range(6)], toml=SITES)
    for number in (1, 2):
        assert {step for _, step in rows(ws.steps.plan(part=(number, 2)))} == {"clean"}
    assert rows(ws.steps.plan(part="last")) == {("site=lyon", "group")}
    assert ws.steps.run(part="last", mode="main_process", progress=False).counts() == {"done": 1}


@pytest.mark.parametrize("more", ["downstream", "upstream"])
def test_rows_that_a_run_adds_stay_in_its_part(make_workspace, more):
    ws = make_workspace(CHAIN, [f"raw/{one}" for one in IDS])
    step = "clean" if more == "downstream" else "peak"
    parts = [rows(ws.steps.filter(step=step).plan(part=(n, 4), **{more: True})) for n in range(1, 5)]
    assert sum(map(len, parts)) == 80
    assert len(set.union(*parts)) == 80


def test_the_limit_counts_the_rows_of_the_part(make_workspace):
    ws = make_workspace(CHAIN, [f"raw/{one}" for one in IDS])
    assert ws.steps.plan(part=(2, 4), limit=3).n_run == 3


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ("9/8", "part: 9/8 does not exist (The parts are 1/8 to 8/8.)"),
        ("0/8", "part: 0/8 does not exist (The parts are 1/8 to 8/8.)"),
        ((1, 0), "part: 1/0 does not exist (There is at least one part: 1/1.)"),
        ("lst", "part: 'lst' is not a part such as 3/8, or last; did you mean 'last'?"),
        ("3-8", "part: '3-8' is not a part such as 3/8, or last"),
        ((1, 2, 3), "part: (1, 2, 3) is not a part such as 3/8, or last"),
        ((True, 2), "part: (True, 2) is not a part such as 3/8, or last"),
        (3, "part: 3 is not a part such as 3/8, or last"),
    ],
)
def test_what_is_no_part_is_refused_in_one_sentence(make_workspace, part, said):
    ws = make_workspace(CHAIN, ["raw/R1"])
    with pytest.raises(SelectionError) as error:
        ws.steps.plan(part=part)
    assert f"{error.value.message}{f' ({error.value.hint})' if error.value.hint else ''}" == said


def test_the_command_line_takes_parts(cli, write_workspace):
    folder = write_workspace(CHAIN, [f"raw/{one}" for one in IDS[:8]])
    sizes = [int(cli("plan", folder, "--part", f"{n}/2").stdout.split()[-3]) for n in (1, 2)]
    assert sum(sizes) == 16
    assert cli("run", folder, "--part", "1/2", "-q").stdout.startswith(f"{sizes[0]} done")
    again = cli("run", folder, "--part", "1/2")
    assert (again.returncode, again.stdout) == (
        0,
        "nothing to do: these are done; --force runs them again\n",
    )
    assert cli("run", folder, "--part", "last").stdout.startswith("nothing to do: no rows fit")
    wrong = cli("run", folder, "--part", "5/2")
    assert (wrong.returncode, wrong.stderr) == (
        2,
        "error: part: 5/2 does not exist\nThe parts are 1/2 to 2/2.\n",
    )
    assert Workspace(folder).steps.plan().n_run == sizes[1]
