"""`sinagot-catalog report` and `ws.report`: one page, looked at in a real browser."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from sinagot_catalog import Workspace
from sinagot_catalog.reporting.completeness import groupings
from sinagot_catalog.reporting.report_rows import ReportRows
from sinagot_catalog.reporting.step_graph import graph_of
from tests.browser import ARGUMENTS, CHROMIUM, browser_needed


def embedded(page):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page)[1])


def test_the_command_writes_one_page_that_names_no_other(cli, harbor_folder, tmp_path):
    done = cli("report", harbor_folder, "-o", "page.html")
    assert (done.returncode, done.stdout) == (0, "page.html\n")
    page = (tmp_path / "page.html").read_text()
    assert "default-src 'none'" in page
    assert re.findall(r"""(?:src|href)=["'](?!#|data:,)""", page) == []
    assert "http://" not in page
    assert "https://" not in page
    told = json.loads(cli("report", harbor_folder, "--json").stdout)
    assert told["bytes"] == Path(told["path"]).stat().st_size


def test_a_page_that_cannot_be_written_is_one_sentence(cli, harbor_folder):
    done = cli("report", harbor_folder, "-o", "nowhere/page.html")
    assert done.returncode == 2
    assert done.stderr == (
        "error: nowhere/page.html cannot be written: No such file or directory\n"
        "Make its folder, or name another place.\n"
    )


def test_rows_of_the_page_are_those_of_the_steps_table(lab, tmp_path):
    lab.steps.run(mode="main_process", progress=False)
    data = embedded(lab.report(tmp_path / "page.html").read_text())
    names = ["INIT", "DATA_READY", "PROCESSING", "DONE", "ERROR", "DATA_NOT_AVAILABLE", None]
    rows = []
    for rec, record_id in enumerate(data["ids"]):
        for cell, (task, modality, step) in enumerate(data["cells"]):
            said = data["said"][cell]
            text = data["sentences"][said[rec]].replace("\x01", record_id) if said else ""
            seconds = data["seconds"][cell]
            status = names[int(data["status"][cell][rec])]
            rows.append((record_id, task, modality, step, status, text, seconds and seconds[rec]))
    table = lab.steps.select("record_id", "task", "modality", "step", "status", "reason", "seconds")
    expected = [
        (*row[:5], "" if row[4] in ("DONE", "DATA_READY") else row[5], row[6])
        for row in table.with_columns(pl.col("seconds").round(3)).rows()
    ]
    assert rows == expected


def test_what_records_lack_together_is_counted(lab, tmp_path):
    page = lab.report(tmp_path / "page.html").read_text()
    text = " ".join(re.sub(r"<[^>]*>", " ", page).split())
    assert "1 record lacks only HDC/EEG (raw/{id}-HDC.txt) and HDC/behavior (trials/{id}.csv)" in text
    n_lacking = sum(int(n) for n in re.findall(r"(\d+) records? lacks? only", text))
    assert f"; {n_lacking} record{' lacks' if n_lacking == 1 else 's lack'} data" in text


def test_groups_of_a_field_tell_no_value_from_several_values(make_workspace, tmp_path):
    toml = """
    [steps]
    scripts = ["copy", "join"]
    [steps.copy]
    command = "cp {input} {output}"
    inputs = "raw/{sub}_{ses?}.txt"
    outputs = "copy/{id}.txt"
    [steps.join]
    command = "cat {input}"
    inputs = "copy/{id}.txt"
    outputs = "joined/{sub}.txt"
    by = ["sub"]
    """
    files = ["raw/s1_a.txt", "raw/s1_b.txt", "raw/s2.txt"]
    ws = make_workspace({}, files, toml=toml, id_pattern="(?P<sub>s[0-9])(?:_(?P<ses>[a-z]))?")
    rows = ReportRows(ws._source.catalog())
    (one,) = [one for one in groupings(ws._source.catalog(), rows) if one.column == "ses"]
    assert {group.value: group.total for group in one.groups} == {"(none)": 2, "a": 1, "b": 1, "(several)": 1}
    for group in one.groups:
        assert ws.steps.sql_filter(group.condition).count() == group.total
    assert "(several)" in ws.report(tmp_path / "page.html").read_text()


def test_text_of_others_is_escaped(make_workspace, tmp_path):
    evil = "</script><script>document.title='owned'</script><img src=x onerror=alert(1)>"
    body = f"raise ValueError({evil!r} + chr(0x2028))"
    ws = make_workspace({"a": ("raw/{id}", "a/{id}", body)}, ["raw/R<b>1", "raw/R&2"], id_pattern=r"R.+")
    ws.steps.run(mode="main_process", progress=False)
    page = ws.report(tmp_path / "page.html").read_text()
    assert evil not in page
    assert "<img" not in page
    assert page.count("<script") == 2
    assert embedded(page)["ids"] == ["R&2", "R<b>1"]


def test_a_band_of_the_matrix_ends_where_a_step_has_no_row(make_workspace, tmp_path):
    ws = make_workspace(
        {"a": ("raw/{id}", "a/{id}"), "b": ("raw/{id}", "b/{id}")}, ["raw/R1", "raw/R2", "raw/R3"]
    )
    page = ws.report(tmp_path / "page.html", where="step = 'b' OR record_id <> 'R2'").read_text()
    bands = [re.findall(r' x="(\d)" y="0.0" width="(\d)"', strip) for strip in page.split('class="bins"')[1:]]
    assert bands == [[("0", "1"), ("2", "1")], [("0", "3")]]


def test_an_empty_workspace_has_a_page_too(make_workspace, tmp_path):
    page = make_workspace({"a": ("raw/{id}", "a/{id}")}).report(tmp_path / "page.html").read_text()
    assert "There is no record yet." in page
    assert "No record lacks" not in page
    assert "dataset holds no file of a record; looked for raw/{id}<" in page
    assert "Nothing failed." in page


def test_the_graph_has_a_node_per_step_and_escapes_names(lab):
    graph = graph_of(lab._source.layout())
    assert [(node.unit, node.step, node.depth) for node in graph.nodes] == [
        ("RS EEG", "clean", 0), ("RS EEG", "alpha", 1), ("HDC EEG", "clean", 0), ("HDC behavior", "scores", 0),
    ]  # fmt: skip
    assert graph.edges == ((0, 1),)
    assert 'subgraph u1["RS EEG"]' in graph.mermaid()
    assert graph.svg({0: (1, 2)}).count('<rect class="node"') == 4


@pytest.fixture(scope="session")
def large(tmp_path_factory):
    """A workspace of 100,200 rows, whose files are those of a listing."""
    folder = tmp_path_factory.mktemp("large")
    (folder / "workspace.toml").write_text(
        "[records]\nid_pattern = 'R\\d{5}'\n[steps]\nscripts = ['a', 'b', 'c']\n"
    )
    head = "from sinagot_catalog import ScriptTemplate\nclass Script(ScriptTemplate):\n"
    source = head + "    PATH_IN = {!r}\n    PATH_OUT = {!r}\n"
    for name, before in (("a", "raw"), ("b", "a"), ("c", "b")):
        path = folder / "scripts" / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(source.format(f"{before}/{{id}}", f"{name}/{{id}}"))
    (folder / "dataset").mkdir()
    parts = (("raw", 1), ("a", 2), ("b", 3))
    paths = [f"{part}/R{n:05d}" for part, every in parts for n in range(0, 33_400, every)]
    return Workspace(folder, listing=pl.DataFrame({"path": paths}))


def test_a_page_of_100000_rows_is_small(large, tmp_path):
    page = large.report(tmp_path / "page.html")
    assert page.stat().st_size < 5_000_000
    assert len(embedded(page.read_text())["status"][0]) == 33_400


@pytest.fixture
def browse():
    """Open a page in a real browser; what it complains about fails the test."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        said = []

        def go(path, **options):
            page = browser.new_page(**options)
            page.set_default_timeout(20_000)
            page.on("console", lambda message: said.append(message.text))
            page.on("pageerror", lambda error: said.append(str(error)))
            page.on(
                "request",
                lambda request: (
                    None if request.url.startswith(("file:", "data:")) else said.append(request.url)
                ),
            )
            page.goto(path.as_uri())
            page.wait_for_selector("#shown:not(:empty)")
            return page

        yield go
        browser.close()
        assert said == []


@browser_needed
@pytest.mark.filterwarnings("ignore")  # of playwright's own event loop
def test_search_filters_pages_and_the_matrix_work_in_a_browser(make_workspace, tmp_path, browse):
    body = "if self.id == 'R05': raise ValueError('no <b>boats</b>')\nself.path.output.write_text('x')"
    ws = make_workspace(
        {"a": ("raw/{id}", "a/{id}", body), "b": ("a/{id}", "b/{id}")}, [f"raw/R{n:02d}" for n in range(60)]
    )
    ws.steps.run(mode="main_process", progress=False)
    page = browse(ws.report(tmp_path / "page.html"))
    shown = page.locator("#shown")
    assert shown.inner_text() == "1 to 50 of 120 rows"
    page.locator("#after").press("Enter")
    assert shown.inner_text() == "51 to 100 of 120 rows"
    page.fill("#search", "r05 waits")
    assert shown.inner_text() == "1 to 1 of 1 rows"
    page.fill("#search", "")
    page.locator(".chip", has_text="ERROR").click()
    assert shown.inner_text() == "1 to 1 of 1 rows"
    assert page.locator("#table tbody td").last.inner_text() == "ValueError: no <b>boats</b>"
    page.locator(".chip", has_text="ERROR").click()
    page.select_option("#step", label="b")
    assert shown.inner_text() == "1 to 50 of 60 rows"
    page.locator("#table th button", has_text="record").click()
    assert page.locator("#table tbody td").first.inner_text() == "R59"
    page.locator(".bins").first.click(position={"x": 1, "y": 5})
    assert page.locator("#range").inner_text().startswith("R00 ")
    page.locator("#range").click()
    page.locator("summary", has_text="ValueError").click()
    assert "raise ValueError" in page.locator("#failures pre:not(.command)").first.inner_text()
    assert page.title() == "workspace · sinagot_catalog"


@browser_needed
@pytest.mark.filterwarnings("ignore")
def test_on_paper_there_is_what_failed_with_tracebacks_and_no_controls(make_workspace, tmp_path, browse):
    body = "if self.id == 'R05': raise ValueError('no boats')\nself.path.output.write_text('x')"
    ws = make_workspace({"a": ("raw/{id}", "a/{id}", body)}, [f"raw/R{n:02d}" for n in range(80)])
    ws.steps.run(mode="main_process", progress=False)
    page = browse(ws.report(tmp_path / "page.html"))
    traceback = page.locator("#failures pre:not(.command)").first
    assert not traceback.is_visible()
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("#shown").inner_text() == "1 to 1 of 1 rows"
    assert page.locator("#table tbody td").last.inner_text() == "ValueError: no boats"
    assert traceback.is_visible()
    assert not page.locator("#after").is_visible()
    assert not page.locator("#search").is_visible()
    page.emulate_media(media="screen")
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("#shown").inner_text() == "1 to 50 of 80 rows"
    assert not traceback.is_visible()
    page.keyboard.press("/")
    page.keyboard.type("r05")
    page.locator("#shown", has_text=re.compile("^1 to 1 of 1 rows$")).wait_for(timeout=300_000)


@browser_needed
@pytest.mark.filterwarnings("ignore")
def test_saved_rows_hold_no_formulas_of_spreadsheets(make_workspace, tmp_path, browse):
    names = ["=1+2", "@SUM(A1)", "+x,y", "-7", "R1"]
    body = "if self.id == 'R1': raise ValueError('=HYPERLINK(0)')\nself.path.output.write_text('x')"
    ws = make_workspace({"a": ("raw/{id}", "a/{id}", body)}, [f"raw/{n}" for n in names], id_pattern=".+")
    ws.steps.run(mode="main_process", progress=False)
    page = browse(ws.report(tmp_path / "page.html"))
    with page.expect_download() as saved:
        page.locator("#csv").click()
    rows = pl.read_csv(Path(saved.value.path()).read_bytes(), infer_schema=False)
    assert sorted(rows["record_id"]) == ["'+x,y", "'=1+2", "'@SUM(A1)", "-7", "R1"]
    assert not any(text.startswith(("=", "@", "+")) for row in rows.rows() for text in row if text)


@browser_needed
@pytest.mark.filterwarnings("ignore")
def test_a_filter_is_part_of_the_address_and_rows_tell_why(make_workspace, tmp_path, browse):
    evil = "R05 <b>it's"
    body = "if '05' in self.id: raise ValueError('no, \"boats\"')\nself.path.output.write_text('x')"
    names = [evil if n == 5 else f"R{n:02d}" for n in range(60)]
    ws = make_workspace(
        {"a": ("raw/{id}", "a/{id}", body), "b": ("a/{id}", "b/{id}")},
        [f"raw/{n}" for n in names],
        id_pattern=".+",
    )
    ws.steps.run(mode="main_process", progress=False)
    path = ws.report(tmp_path / "page.html")
    page = browse(path)
    page.fill("#search", "boats")
    page.locator(".chip", has_text="ERROR").click()
    page.select_option("#step", label="a")
    page.locator("#table th button", has_text="took").click()
    address = page.url
    assert "search=boats" in address
    page.goto("about:blank")
    page.goto(address)
    page.locator("#shown", has_text="1 to 1 of 1 rows").wait_for()
    assert page.input_value("#search") == "boats"
    assert page.locator(".chip[aria-pressed=true]").inner_text() == "ERROR 1"
    assert page.locator("#table th[aria-sort=ascending]").inner_text() == "took"
    page.locator("#table tbody button").click()
    command = page.locator(".more .command").inner_text()
    done = subprocess.run(
        ["sh", "-c", command], capture_output=True, text=True, timeout=300, check=True, cwd=tmp_path,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"},
    )  # fmt: skip
    assert 'no, "boats"' in done.stdout
    assert page.locator(".more").inner_text().startswith('ValueError: no, "boats"\n')
    page.locator("#table tbody button").first.click()
    assert page.locator(".more").count() == 0
    with page.expect_download() as saved:
        page.locator("#csv").click()
    lines = Path(saved.value.path()).read_text()
    assert pl.read_csv(lines.encode()).select("record_id", "step", "status", "reason").rows() == [
        (evil, "a", "ERROR", 'ValueError: no, "boats"')
    ]
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.locator("#ids").click()
    page.locator("#done", has_text="1 id copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == evil
    page.evaluate("location.hash = 'from=R00&to=R01&search='")
    page.locator("#shown", has_text="1 to 4 of 4 rows").wait_for()
    for wrong in ("#search=%", "#step=x&status=,,&from=zz", "#=", "#sort=-nothing"):
        browse(path).goto(path.as_uri() + wrong)


@browser_needed
@pytest.mark.filterwarnings("ignore")
def test_it_is_light_and_dark_and_fits_a_phone(lab, tmp_path, browse):
    lab.steps.run(mode="main_process", progress=False)
    path = lab.report(tmp_path / "page.html")
    background = "getComputedStyle(document.body).backgroundColor"
    light = browse(path, color_scheme="light")
    dark = browse(path, color_scheme="dark", viewport={"width": 380, "height": 800})
    assert light.evaluate(background) != dark.evaluate(background)
    assert dark.evaluate("document.documentElement.scrollWidth") <= 380
    parts = "Array.from(document.querySelectorAll('.scroll, .groups'))"
    wider = "one => one.scrollWidth > one.clientWidth"
    assert dark.evaluate(f"{parts}.filter({wider}).map(one => one.closest('section').id)") == []
    before = light.evaluate(background)
    light.locator("#theme").click()
    assert light.evaluate(background) == dark.evaluate(background) != before


@browser_needed
@pytest.mark.filterwarnings("ignore")
def test_a_page_of_100000_rows_opens_in_two_seconds(large, tmp_path, browse):
    page = browse(large.report(tmp_path / "page.html"))
    metrics = page.context.new_cdp_session(page)
    metrics.send("Performance.enable")
    found = {one["name"]: one["value"] for one in metrics.send("Performance.getMetrics")["metrics"]}
    assert found["ProcessTime"] < 2  # of the processor: a busy machine changes nothing
    page.fill("#search", "R33399")
    page.get_by_text("1 to 3 of 3 rows").wait_for()
