"""What a report says first: headline, failures with their commands, completeness by group, rules, selected rows."""

import html
import json
import re
import shlex
from itertools import combinations
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from sinagot_catalog import Workspace
from sinagot_catalog.errors import SelectionError
from sinagot_catalog.reporting import html_report

FAILS_ON_ODD = """
if int(self.id[-2:]) % 2:
    raise ValueError(f"it's {self.id}: 100% _lost_")
self.path.output.write_text("x")
"""


def text_of(page):
    """The words of a page."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page.read_text())).split())


def commands_of(page):
    """The commands below the failures of a page."""
    return [
        html.unescape(one) for one in re.findall(r'<pre class="command"><code>(.*?)</code>', page.read_text())
    ]


def section(page, name):
    """The words of one section of a page."""
    found = re.search(rf'<section id="{name}">(.*?)</section>', page.read_text(), re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", found[1])).split()) if found else None


def embedded(page):
    return json.loads(
        re.search(r'<script type="application/json" id="data">(.*?)</script>', page.read_text())[1]
    )


def run_rows(cli, command, folder):
    """Run a command of a page in another folder; return the rows that it ran."""
    program, *words = shlex.split(command)
    assert program == "sinagot-catalog"
    done = cli(*words, "--csv", cwd=folder)
    rows = pl.read_csv(done.stdout.encode(), infer_schema=False)
    return sorted(rows.filter(pl.col("outcome") != "skipped").select("record_id", "step").rows())


@pytest.fixture
def odd(make_workspace):
    """A workspace of 30 records, where every second row of step a fails."""
    ws = make_workspace(
        {"a": ("raw/{id}", "a/{id}", FAILS_ON_ODD), "b": ("a/{id}", "b/{id}")},
        [f"raw/R{n:02d}" for n in range(30)],
    )
    ws.steps.filter(step="a").run(mode="main_process", progress=False)
    return ws


def test_the_headline_counts_done_failed_and_ready_rows(odd, tmp_path):
    page = odd.report(tmp_path / "page.html")
    said = "15 of 60 rows done (25 %), 15 failed, 15 can run now, 15 wait for an input"
    assert f'<p class="headline">{said}</p>' in page.read_text()


def test_the_headline_counts_done_rows_whose_last_attempt_failed(odd, tmp_path):
    folder = odd.data_path / "a"
    (folder / "R01").touch()
    odd.refresh()
    page = odd.report(tmp_path / "page.html", where="step = 'a'")
    assert "16 of 30 rows done (53 %), 14 failed; the last attempt failed for 1 of the done rows" in text_of(
        page
    )


def test_only_complete_work_is_100_percent(make_workspace, tmp_path):
    ws = make_workspace({"a": ("raw/{id}", "a/{id}")}, [f"raw/R{n:03d}" for n in range(300)])
    ws.steps.head(299).run(mode="main_process", progress=False)
    assert "299 of 300 rows done (99 %), 1 can run now" in text_of(ws.report(tmp_path / "page.html"))
    ws.steps.run(mode="main_process", progress=False)
    assert "300 of 300 rows done (100 %)" in text_of(ws.report(tmp_path / "page.html"))


def test_an_empty_workspace_has_a_headline(make_workspace, tmp_path):
    page = make_workspace({"a": ("raw/{id}", "a/{id}")}).report(tmp_path / "page.html")
    assert '<p class="headline">There is no record yet.</p>' in page.read_text()


def test_a_command_runs_exactly_the_rows_of_a_failure_from_any_folder(odd, cli, tmp_path):
    page = odd.report(tmp_path / "page.html")
    (command,) = commands_of(page)
    assert "to run exactly these rows again" in text_of(page)
    elsewhere = tmp_path / "else where"
    elsewhere.mkdir()
    assert run_rows(cli, command, elsewhere) == [(f"R{n:02d}", "a") for n in range(1, 30, 2)]


def test_a_command_does_not_run_failures_of_another_kind(make_workspace, cli, tmp_path):
    body = """
        n = int(self.id[1:])
        if n < 30:
            raise ValueError(f"bad x_{n}")
        if n < 33:
            raise ValueError(f"bad xy{n} and more")
        raise KeyError(self.id)
    """
    ws = make_workspace({"a": ("raw/{id}", "a/{id}", body)}, [f"raw/R{n:02d}" for n in range(36)])
    ws.steps.run(mode="main_process", progress=False)
    commands = commands_of(ws.report(tmp_path / "page.html"))
    ran = [[int(record[1:]) for record, _ in run_rows(cli, one, tmp_path)] for one in commands]
    assert ran == [list(range(30)), [30, 31, 32], [33, 34, 35]]


def test_a_command_keeps_to_the_unit_of_its_rows(lab_folder, cli, tmp_path):
    ws = Workspace(lab_folder())
    script = ws.scripts_path / "EEG" / "clean.py"
    source = script.read_text()
    start = source.index("    def run")
    script.write_text(source[:start] + "    def run(self):\n        raise ValueError('no boats')\n")
    ws.refresh()
    ws.steps.filter(step="clean").run(mode="main_process", progress=False)
    failures = ws.steps.failures()
    commands = commands_of(ws.report(tmp_path / "page.html"))
    assert [len(run_rows(cli, one, tmp_path)) for one in commands] == failures["n"].to_list()
    assert all("task = '" in one for one in commands)


def test_a_command_names_a_folder_with_a_space_and_a_quote(odd, cli, tmp_path):
    root = Path(odd.config.root)
    moved = root.rename(root.parent / "it's a lab")
    page = Workspace(moved).report(tmp_path / "page.html", where="record_id = 'R01'")
    (command,) = commands_of(page)
    assert "to run exactly this row again" in text_of(page)
    assert run_rows(cli, command, Path("/")) == [("R01", "a")]


def test_completeness_is_shown_by_field_and_by_named_columns(make_workspace, tmp_path):
    ws = make_workspace(
        {
            "a": (
                "raw/{id}",
                "a/{id}",
                "if self.id == 'S1-R2': raise ValueError('x')\nself.path.output.write_text('x')",
            )
        },
        [f"raw/{site}-R{n}" for site in ("S1", "S2") for n in range(3)],
        id_pattern=r"(?P<site>S\d)-(?P<number>R\d)",
    )
    ws.steps.run(mode="main_process", progress=False)
    groups = section(ws.report(tmp_path / "page.html"), "groups")
    assert "site done failed rows by status S1 67 % 1 3 S2 100 % 0 3" in groups
    assert "number done failed rows by status R0 100 % 0 2" in groups
    groups = section(ws.report(tmp_path / "page.html", by=["outcome"]), "groups")
    assert groups.startswith(
        "Completeness by group outcome done failed rows by status done 100 % 0 5 error 0 % 1 1"
    )


def test_completeness_is_shown_by_texts_of_a_table_with_few_values(write_workspace, tmp_path):
    lines = [f"R{n:02d},{'north' if n < 15 else 'south'},name {n},{n % 2}" for n in range(19)]
    files = {f"raw/R{n:02d}": "x" for n in range(20)}
    folder = write_workspace(
        {"a": ("raw/{id}", "a/{id}")},
        {**files, "people.csv": "\n".join(["record_id,site,name,age", *lines])},
        toml="[records]\nid_pattern = 'R\\d+'\nmetadata = 'dataset/people.csv'\n[steps]\nscripts = ['a']\n",
    )
    ws = Workspace(folder)
    ws.steps.filter(record_id="R03").run(mode="main_process", progress=False)
    groups = section(ws.report(tmp_path / "page.html"), "groups")
    assert groups == (
        "Completeness by group site done failed rows by status north 7 % 0 15 south 0 % 0 4 (none) 0 % 0 1"
    )
    groups = section(ws.report(tmp_path / "page.html", where="site = 'south'", by=["age"]), "groups")
    assert groups == "Completeness by group age done failed rows by status 0 0 % 0 2 1 0 % 0 2"


def test_completeness_is_shown_by_task_and_modality(lab, tmp_path):
    groups = section(lab.report(tmp_path / "page.html"), "groups")
    assert re.search(r"task done failed rows by status HDC 0 % 0 \d+ RS 0 % 0 \d+", groups)
    assert re.search(r"modality done failed rows by status EEG 0 % 0 \d+ behavior 0 % 0 \d+", groups)


def test_of_many_groups_those_with_failures_come_first(make_workspace, tmp_path):
    body = "if self.id == 'R35': raise ValueError('x')\nself.path.output.write_text('x')"
    ws = make_workspace({"a": ("raw/{id}", "a/{id}", body)}, [f"raw/R{n:02d}" for n in range(40)])
    ws.steps.run(mode="main_process", progress=False)
    groups = section(ws.report(tmp_path / "page.html", by=["record_id"]), "groups")
    assert groups.startswith(
        "Completeness by group record_id done failed rows by status R35 0 % 1 1 R00 100 % 0 1"
    )
    assert "the 30 of 40 values with the most failures" in groups


def test_a_filter_shows_only_its_rows(lab, cli, tmp_path):
    where = "record_id IN ('R1', 'R2') AND step = 'clean'"
    page = lab.report(tmp_path / "page.html", where=where)
    data = embedded(page)
    shown = [
        (record_id, task, step)
        for cell, (task, _, step) in enumerate(data["cells"])
        for rec, record_id in enumerate(data["ids"])
        if data["status"][cell][rec] != "."
    ]
    expected = lab.steps.sql_filter(where).select("record_id", "task", "step").rows()
    assert sorted(shown) == sorted(expected)
    assert f"only rows that fit {where}" in text_of(page)
    done = cli("report", "-C", lab.config.root, "-o", "by_cli.html", "--where", where, "--by", "task")
    assert done.returncode == 0
    assert embedded(tmp_path / "by_cli.html") == data


def test_rows_of_a_filter_need_not_form_a_grid(odd, tmp_path):
    data = embedded(odd.report(tmp_path / "page.html", where="status IN ('ERROR', 'READY')"))
    assert len(data["ids"]) == 30
    ready, error = data["names"].index("READY"), data["names"].index("ERROR")
    assert data["status"] == [f".{error}" * 15, f"{ready}." * 15]


def test_a_filter_without_rows_has_a_page(odd, tmp_path):
    page = odd.report(tmp_path / "page.html", where="record_id = 'R99'")
    assert "There is no row." in text_of(page)
    assert "Nothing failed." in text_of(page)


def test_a_wrong_filter_or_column_is_one_sentence_and_writes_nothing(odd, cli, tmp_path):
    for words, said in (
        (("--where", "statu = 'ERROR'"), "status"),
        (("--where", "status = 'EROR'"), "ERROR"),
        (("--by", "stat"), "stat"),
    ):
        done = cli("report", odd.config.root, "-o", "page.html", *words)
        assert done.returncode == 2, words
        assert said in done.stderr
        assert "Traceback" not in done.stderr
    assert not (tmp_path / "page.html").exists()
    with pytest.raises(SelectionError, match="colour"):
        odd.report(tmp_path / "page.html", by=["colour"])


def test_each_rule_of_a_row_has_its_text_once(odd, tmp_path):
    page = odd.report(tmp_path / "page.html")
    rows = section(page, "rows")
    assert "DONE all outputs are there" in rows
    assert "rule 5, failed: 15 rows" in rows
    assert rows.count("the last attempt failed or was lost") == 1
    assert "a live run is working on it" not in rows
    data = embedded(page)
    assert data["rule"][0] == "45" * 15
    assert set(data["rules"]) == {"4", "5", "6", "8"}


def luminance(colour):
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(first, second):
    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


SIGHT = {
    "usual": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "deuteranopia": ((0.367, 0.861, -0.228), (0.280, 0.673, 0.047), (-0.012, 0.043, 0.969)),
    "protanopia": ((0.152, 1.053, -0.205), (0.115, 0.786, 0.099), (-0.004, -0.048, 1.052)),
}
"""What a person sees of linear red, green and blue, by Machado, Oliveira and Fernandes (2009)."""
TO_XYZ = ((0.4339, 0.3762, 0.1899), (0.2126, 0.7152, 0.0722), (0.0177, 0.1094, 0.8729))
"""From linear red, green and blue to XYZ, relative to white."""


def lab(colour, sight):
    """The place of a colour in CIELAB, as a person with a kind of sight sees it."""
    parts = np.array([int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)])
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    x, y, z = np.cbrt(np.array(TO_XYZ) @ (np.array(SIGHT[sight]) @ linear).clip(0.009, 1))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def schemes():
    """The colours of the page: light, dark by the system, dark by the button."""
    css = (Path(html_report.__file__).parent / "templates" / "page.css").read_text()
    found = [
        dict(re.findall(r"--([\w]+): (#[0-9a-f]{3,6})", one))
        for one in re.findall(r"--back.*?\}", css, re.DOTALL)
    ]
    return [one for one in found if "s3" in one]


@pytest.mark.parametrize("sight", SIGHT)
def test_the_colours_of_all_statuses_differ_also_for_the_colour_blind(sight):
    for colours in schemes():
        seen = [lab(colours[f"s{code}"], sight) for code in range(8)]
        assert min(np.linalg.norm(first - second) for first, second in combinations(seen, 2)) > 15


def test_done_and_error_differ_in_lightness_and_shape():
    css = (Path(html_report.__file__).parent / "templates" / "page.css").read_text()
    assert len(schemes()) == 3
    for one in schemes():
        card = "#ffffff" if one["card"] == "#fff" else one["card"]
        assert contrast(one["s3"], one["s4"]) >= 2
        assert contrast(one["s3"], card) >= 3
        assert contrast(one["s4"], card) >= 3
    shapes = dict(re.findall(r"\.dot\.s(\d) \{([^}]*)\}", css))
    assert len({shapes[code] for code in "0234567"}) == 7


def test_a_single_failure_among_many_rows_has_a_mark(make_workspace, tmp_path):
    body = "if self.id == 'R150': raise ValueError('x')\nself.path.output.write_text('x')"
    ws = make_workspace({"a": ("raw/{id}", "a/{id}", body)}, [f"raw/R{n:03d}" for n in range(300)])
    ws.steps.run(mode="main_process", progress=False)
    page = ws.report(tmp_path / "page.html").read_text()
    assert page.count('y="1.08"') == 1
