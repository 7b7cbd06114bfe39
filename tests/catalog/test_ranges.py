"""A given listing that is too large to hold: each question goes through it range by range of records."""

import io
import json

import polars as pl
import pytest

from sinagot_catalog import Workspace
from sinagot_catalog.catalog.queries.ranges import Ranges
from sinagot_catalog.errors import SelectionError

pytestmark = pytest.mark.slow
SCRIPTS = {
    "read": ("raw/{id}.csv", "out/{id}.csv"),
    "sum": ({"one": "out/{id}.csv", "all": "shared/table.txt"}, "sums/{id}/sum.txt"),
}
HOW = {"id_pattern": "[A-Z]+[0-9]*"}
IDS = sorted([f"{letter}{n}" for letter in "ABCDEFG" for n in range(20)] + ["A", "D", "F"])


@pytest.fixture
def place(write_workspace, tmp_path, monkeypatch):
    """A workspace and a listing of it as Parquet; a look holds 60 of its keys.

    Each third record is read, each sixth has its sum.
    """
    monkeypatch.setattr(Ranges, "most_keys", 60)
    folder = write_workspace(SCRIPTS, **HOW)
    paths = [f"raw/{one}.csv" for one in IDS]
    paths += [f"out/{one}.csv" for one in IDS[::3]] + [f"sums/{one}/sum.txt" for one in IDS[::6]]
    paths += ["shared/table.txt", "raw/readme.md", "raw/notes.txt", "elsewhere/x.csv"]
    listing = tmp_path / "listing.parquet"
    pl.DataFrame({"path": sorted(paths), "size": range(len(paths))}).write_parquet(listing, row_group_size=50)
    return folder, listing


@pytest.fixture
def ranged(place):
    ws = Workspace(place[0], listing=place[1])
    assert len(list(ws.steps.ranges())) > 3
    return ws


@pytest.fixture
def whole(place):
    """The same workspace in one look: a listing in a frame that is half as large."""
    ws = Workspace(place[0], listing=pl.read_parquet(place[1]))
    ws._source.ranges.spans = []
    return ws


@pytest.mark.parametrize("table", ["records", "units", "steps"])
def test_tables_have_the_same_rows_in_ranges(ranged, whole, table):
    assert getattr(ranged, table).collect().equals(getattr(whole, table).collect())
    assert getattr(ranged, table).count() == getattr(whole, table).count()
    assert getattr(ranged, table).lazy().collect().equals(getattr(whole, table).collect())


def test_each_file_is_in_one_range(ranged, whole):
    found, expected = ranged.files.collect(), whole.files.collect()
    assert found.sort("path").equals(expected)
    assert ranged.files.count() == expected.height


@pytest.mark.parametrize("rest", [".csv", "~.csv", "~/data.csv", "~{id}.csv"])
def test_ids_that_begin_like_others_are_in_one_range_whatever_follows_them(
    rest, write_workspace, tmp_path, monkeypatch
):
    monkeypatch.setattr(Ranges, "most_keys", 20)
    folder = write_workspace({"read": (f"raw/{{id}}{rest}", f"out/{{id}}{rest}")}, **HOW)
    ids = sorted({f"{letter}{n}" for letter in "ABC" for n in (1, 10, 100, 101, 11, 2, 20)} | {"A", "B", "C"})
    paths = [f"{where}/{one}{rest.replace('{id}', one)}" for where in ("raw", "out") for one in ids]
    listing = tmp_path / "listing.parquet"
    pl.DataFrame({"path": sorted(paths)}).write_parquet(listing)
    ranged = Workspace(folder, listing=listing)
    assert len(list(ranged.steps.ranges())) > 1
    assert ranged.records.ids() == ids
    assert ranged.steps.filter(status="DONE").count() == len(ids)
    assert ranged.files.collect()["path"].sort().to_list() == sorted(paths)


def test_records_are_the_same_in_ranges(ranged, whole):
    assert ranged.records.ids() == IDS
    assert ranged.records.first().id == "A"
    assert [one.id for one in ranged.records.head(3)] == IDS[:3]
    assert ranged.records.has("D")
    assert not ranged.records.has("D99")
    assert ranged.records["F"].steps.get("read").status() == whole.records["F"].steps.get("read").status()
    assert ranged.records.count_detail().equals(whole.records.count_detail())
    assert ranged.records.count_step("sum").equals(whole.records.count_step("sum"))
    assert ranged.steps.status().equals(whole.steps.status())


def test_notices_are_the_same_in_ranges(place, cli, monkeypatch):
    folder, listing = place
    toml = (folder / "workspace.toml").read_text()
    tables = '[records]\nmetadata = ["ages.csv", "sites.csv"]\nexclude = "exclude.csv"\n'
    (folder / "workspace.toml").write_text(toml.replace("[records]\n", tables))
    ids = [one for one in IDS if one not in ("B3", "G9")]
    rows = "".join(f"{one},1\n" for one in [*ids, "C77", "ZZ1", "C77"])
    (folder / "ages.csv").write_text(f"record_id,age\n{rows}")
    (folder / "sites.csv").write_text("record_id,site\n" + "".join(f"{one},x\n" for one in IDS))
    (folder / "exclude.csv").write_text("record_id,reason\nE5,flat\nE99,gone\n")

    def told(most):
        monkeypatch.setattr(Ranges, "most_keys", most)
        ws = Workspace(folder, listing=listing)
        notices = ws.notices
        shown = json.loads(cli("status", folder, "--json", "--listing", listing).stdout)["notices"]
        assert notices.to_dicts() == shown
        return {(one["kind"], one["count"], one["example"]) for one in shown}

    ranged = told(60)
    assert ranged == told(10**6)
    assert {("row without record", 3, "C77"), ("record without row", 2, "B3")} <= ranged
    assert ("exclusion without record", 1, "E99") in ranged
    monkeypatch.setattr(Ranges, "most_keys", 60)
    kinds = {one["kind"] for one in json.loads(
        cli("status", folder, "--json", "--listing", listing, "--record", "E5").stdout
    )["notices"]}  # fmt: skip
    assert not kinds & {"row without record", "exclusion without record"}


def test_filters_by_values_and_hops_agree(ranged, whole):
    for ask in (
        lambda ws: ws.steps.filter(pl.col("status") == "DATA_READY"),
        lambda ws: ws.steps.filter(pl.col("record_id").str.starts_with("C"), step="sum"),
        lambda ws: ws.steps.filter(status="DONE", step="sum").records,
        lambda ws: ws.records.filter(pl.col("n_done") == 2).steps,
        lambda ws: ws.steps.sql_filter("record_id in ('B3', 'G1') and step = 'read'"),
    ):
        assert ask(ranged).collect().equals(ask(whole).collect())
        assert ask(ranged).count() == ask(whole).count() > 0


@pytest.mark.parametrize(
    "predicate",
    [
        pl.int_range(pl.len()) < 5,
        pl.col("n_files").rank() < 3,
        pl.col("n_files") == pl.col("n_files").max(),
        pl.col("n_files").sum().over("n_steps") > 1,
        (pl.col("n_files") > 0) & (pl.col("n_files").cum_sum() < 9),
        pl.col("n_files").shift(1) > 0,
        pl.col("record_id").is_first_distinct(),
    ],
)
def test_filters_that_need_all_rows_are_one_sentence(ranged, predicate):
    for ask in (
        lambda: ranged.records.filter(predicate).count(),
        ranged.records.filter(predicate).steps.plan,
    ):
        with pytest.raises(
            SelectionError, match=r"needs all rows at once, and this listing is looked at in ranges"
        ):
            ask()


def test_questions_about_all_keys_are_one_sentence_beyond_what_memory_holds(ranged, monkeypatch):
    assert ranged._source.catalog().steps.height == 2 * len(IDS)
    monkeypatch.setattr(Ranges, "most_held", 100)
    with pytest.raises(SelectionError, match=r"this needs all \d+ keys of the listing at once"):
        ranged.refresh().links()


def test_lazy_frame_stops_at_the_rows_that_it_needs(ranged, monkeypatch):
    looks = []
    within = type(ranged._source).within
    monkeypatch.setattr(
        type(ranged._source), "within", lambda self, *given: looks.append(given) or within(self, *given)
    )
    ranged.refresh()
    assert ranged.steps.lazy().head(3).collect().height == 3
    assert len(looks) == 1
    assert ranged.steps.filter(record_id="G9").select("step").height == 2


def test_plan_is_the_same_in_ranges(ranged, whole):
    keys = ["record_id", "step"]
    for options in ({}, {"force": True}, {"downstream": True}, {"limit": 50}, {"part": (2, 3)}):
        found, expected = ranged.steps.plan(**options), whole.steps.plan(**options)
        assert len(found) == len(expected)
        assert found.counts() == expected.counts()
        if "limit" not in options:
            assert found.frame.sort(keys).equals(expected.frame.sort(keys))
        assert found.costs.select("rows").sum().equals(expected.costs.select("rows").sum())
        assert found.needs == expected.needs == {}


def test_plan_of_ranges_knows_what_rows_need(place):
    folder, listing = place
    with (folder / "workspace.toml").open("a") as file:
        file.write("[steps.read]\nresources = {cpus = 2}\n")
    assert Workspace(folder, listing=listing).steps.plan().needs["read"].cpus == 2


@pytest.fixture
def files(place):
    """The same files on disk."""
    folder, listing = place
    for path in pl.read_parquet(listing)["path"]:
        (folder / "dataset" / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / "dataset" / path).write_text("x")
    return folder, listing


def test_run_goes_through_the_ranges(files, cli):
    folder, listing = files
    ws = Workspace(folder, listing=listing)
    report = ws.steps.run("read", limit=70, workers=2, progress=False)
    assert report.counts() == {"done": 70}
    assert report.frame["record_id"].to_list() == [one for one in IDS if one not in IDS[::3]][:70]
    rest = ws.steps.run(downstream=True, workers=2, progress=False)
    assert rest.ok
    assert Workspace(folder).steps.collect()["status"].unique().to_list() == ["DONE"]
    again = ws.steps.run("read", workers=2, progress=False)
    assert set(again.counts()) == {"already_done"}
    assert json.loads(cli("status", folder, "--json").stdout)["totals"]["done"] == 2 * len(IDS)


def test_run_of_named_rows_looks_at_their_ranges_only(files):
    folder, listing = files
    ws = Workspace(folder, listing=listing)
    report = ws.run(["A1", "G2"], force=True, mode="main_process", progress=False)
    assert sorted(report.frame.select("record_id", "step").rows()) == [
        (one, step) for one in ("A1", "G2") for step in ("read", "sum")
    ]


def test_commands_go_through_the_ranges(place, cli, monkeypatch):
    folder, listing = place

    def answer(*words, whole=False):
        monkeypatch.setattr(Ranges, "most_keys", 10**6 if whole else 60)
        done = cli(*words, "--listing", listing)
        assert done.returncode == 0, done.stderr
        return done

    def told(*words):
        out = json.loads(answer("status", folder, "--json", *words).stdout)
        expected = json.loads(answer("status", folder, "--json", *words, whole=True).stdout)
        assert {**out, "seconds": 0} == {**expected, "seconds": 0}
        return out

    assert told()["files"] == len(pl.read_parquet(listing)) - 1
    assert told("--where", "record_id < 'C'", "--by", "status")["totals"]["total"] == 82
    for words in (
        ("steps", "--where", "status = 'DATA_READY'", "--columns", "record_id,step"),
        ("records", "--sort", "-record_id", "--limit", "7"),
        ("steps", "--limit", "70"),
    ):
        for form in ("--csv", "--json"):
            same = answer("ls", "-C", folder, *words, form).stdout
            assert same == answer("ls", "-C", folder, *words, form, whole=True).stdout
    plan = pl.read_csv(io.StringIO(answer("plan", folder, "--csv").stdout))
    expected = pl.read_csv(io.StringIO(answer("plan", folder, "--csv", whole=True).stdout))
    assert plan.sort("record_id", "step").equals(expected.sort("record_id", "step"))
    line = answer("plan", folder).stdout.splitlines()[-1]
    assert line == answer("plan", folder, whole=True).stdout.splitlines()[-1]
    said = answer("ls", "-C", folder, "steps", "--limit", "5", "--csv").stderr
    assert said == "(the first 5 rows; --limit 0 for all)\n"


def test_rows_of_ranges_are_one_parquet_file(place, cli, tmp_path):
    folder, listing = place
    target = tmp_path / "steps.parquet"
    assert cli("ls", "steps", "-C", folder, "--listing", listing, "--parquet", target).returncode == 0
    found = pl.read_parquet(target)
    assert found.equals(Workspace(folder, listing=listing).steps.collect())
    assert isinstance(found.schema["status"], pl.Enum)


def test_optional_files_of_no_record_are_told_apart_from_misnamed_ones_in_ranges_too(
    write_workspace, tmp_path, monkeypatch
):
    script = """
from sinagot_catalog import optional, step
@step(inputs={"raw": "raw/{id}.csv", "extra": optional("extra/{id}.json")}, outputs="out/{id}.csv")
def a(input, output): ...
"""
    folder = write_workspace({"a": script}, **HOW)
    paths = [
        *(f"raw/{one}.csv" for one in IDS),
        "extra/A0.json",
        "extra/A99.json",
        "extra/G99.json",
        "extra/x y",
    ]
    listing = tmp_path / "listing.parquet"
    pl.DataFrame({"path": sorted(paths)}).write_parquet(listing, row_group_size=50)
    monkeypatch.setattr(Ranges, "most_keys", 60)
    ws = Workspace(folder, listing=listing)
    assert len(list(ws.steps.ranges())) > 1
    expected = {("file without record", 2, "extra/A99.json"), ("file without pattern", 1, "extra/x y")}
    assert set(ws.notices.select("kind", "count", "example").rows()) == expected
    part = Workspace(folder, listing=listing, records=("G", "H"))
    assert part.notices.select("kind", "example").rows() == [("file without record", "extra/G99.json")]
    assert "belongs to no record" in str(part.explain_path("extra/G99.json"))
