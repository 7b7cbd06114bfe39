"""What a report shows of the results themselves: pictures, numbers of tables by group; and what changed."""

import base64
import re
import zlib
from pathlib import Path

import pytest

from sinagot_catalog import Workspace
from tests.reporting.test_report_summary import section

IDS = "(?P<site>[AB])(?P<n>\\d)"
MARKED = "    REPORT = True\n"


def png(width=2, height=2):
    """A picture of one colour."""

    def chunk(kind, data):
        body = kind + data
        return len(data).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")

    head = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 2, 0, 0, 0])
    lines = (b"\0" + b"\x30\x90\x60" * width) * height
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def marked(ws, name):
    """The workspace with a step whose results the report shows."""
    path = Path(ws.scripts_path) / f"{name}.py"
    path.write_text(path.read_text().replace("    PATH_OUT", f"{MARKED}    PATH_OUT", 1))
    return Workspace(ws.config.root)


def pictures(page):
    """The pictures of a page with their names."""
    found = re.findall(r'<img src="data:(.*?);base64,(.*?)" alt=".*?"><figcaption>(.*?)<', page.read_text())
    return {name: (kind, base64.b64decode(text)) for kind, text, name in found}


@pytest.fixture
def plots(make_workspace):
    """A workspace of four records, whose step a makes a picture."""
    ws = make_workspace(
        {"a": ("raw/{id}", "a/{id}.png")}, [f"raw/{site}{n}" for site in "AB" for n in (1, 2)], id_pattern=IDS
    )
    folder = Path(ws.data_path) / "a"
    folder.mkdir()
    for name in ("A1", "A2", "B1"):
        (folder / f"{name}.png").write_bytes(png())
    return ws


def test_only_results_of_marked_steps_are_shown(plots, tmp_path):
    assert section(plots.report(tmp_path / "page.html"), "results") is None
    page = marked(plots, "a").report(tmp_path / "page.html")
    assert pictures(page) == dict.fromkeys(("A1", "A2", "B1"), ("image/png", png()))
    assert "img-src data:" in page.read_text()


def test_a_filter_chooses_pictures(plots, tmp_path):
    page = marked(plots, "a").report(tmp_path / "page.html", where="site = 'B'")
    assert list(pictures(page)) == ["B1"]


def test_step_functions_and_commands_are_marked_too(write_workspace, tmp_path):
    folder = write_workspace(
        {}, ["raw/A1"], toml="[records]\nid_pattern = 'A\\d'\n[steps]\nscripts = ['f', 'c']\n"
        "[steps.c]\ncommand = 'cp {input} {output}'\ninputs = 'raw/{id}'\noutputs = 'c/{id}.csv'\nreport = true\n",
    )  # fmt: skip
    (folder / "scripts").mkdir(exist_ok=True)
    (folder / "scripts" / "f.py").write_text(
        "from sinagot_catalog import step\n\n"
        "@step(inputs='raw/{id}', outputs={'t': 'f/{id}.csv'}, report=True)\n"
        "def f(input, output):\n    output['t'].write_text('n,mass\\n1,5\\n2,7\\n')\n"
    )
    (folder / "dataset" / "raw" / "A1").write_text("x\n9\n")
    ws = Workspace(folder)
    assert ws.steps.run(mode="main_process", progress=False).ok
    text = section(ws.report(tmp_path / "page.html"), "results")
    assert "f: t 2 rows of 1 file" in text
    assert "mass, mean min to max all 2 1.5 1 to 2 6 5 to 7" in text
    assert "c 1 row of 1 file group rows x, mean min to max all 1 9" in text


def test_a_mark_that_is_no_flag_is_one_sentence(plots, cli):
    path = Path(plots.scripts_path) / "a.py"
    path.write_text(path.read_text().replace("    PATH_OUT", "    REPORT = 'yes'\n    PATH_OUT", 1))
    done = cli("status", plots.config.root)
    assert "REPORT" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_pictures_for_a_quality_check_need_no_mark(write_workspace, tmp_path):
    folder = write_workspace(
        {}, ["raw/A1"], toml="[records]\nid_pattern = 'A\\d'\n[steps]\nscripts = ['a']\n"
    )
    (folder / "scripts").mkdir(exist_ok=True)
    (folder / "scripts" / "a.py").write_text(
        "from sinagot_catalog import ScriptTemplate\n\nclass Script(ScriptTemplate):\n"
        "    PATH_IN = 'raw/{id}'\n    PATH_OUT = 'a/{id}.csv'\n"
        "    PATH_CONTROL = {'view': 'check/{id}.png', 'log': 'check/{id}.txt'}\n"
    )
    for name, content in (("a/A1.csv", b"n\n1\n"), ("check/A1.png", png()), ("check/A1.txt", b"long text")):
        (folder / "dataset" / name).parent.mkdir(exist_ok=True)
        (folder / "dataset" / name).write_bytes(content)
    page = Workspace(folder).report(tmp_path / "page.html")
    assert list(pictures(page)) == ["A1"]
    assert section(page, "results") == "Results a: view A1"


def test_what_is_no_picture_is_named_and_not_shown(plots, tmp_path):
    secret = tmp_path / "secret.png"
    secret.write_bytes(png(9, 9))
    folder = Path(plots.data_path) / "a"
    (folder / "A1.png").unlink()
    (folder / "A1.png").symlink_to(secret)
    (folder / "A2.png").write_text("<svg onload=alert(1)>")
    with (folder / "B1.png").open("ab") as file:
        file.truncate(5 << 20)
    page = marked(plots, "a").report(tmp_path / "page.html")
    assert pictures(page) == {}
    text = section(page, "results")
    assert "a/A1.png is a link that leads out of the dataset" in text
    assert "a/A2.png is no PNG, JPEG, GIF or WebP" in text
    assert "a/B1.png has 5 MiB" in text or "a/B1.png has 5.2 MB" in text


def test_of_many_pictures_some_are_shown_and_all_are_counted(make_workspace, tmp_path):
    names = [f"R{n:02d}" for n in range(40)]
    ws = make_workspace({"a": ("raw/{id}", "a/{id}.png")}, [f"raw/{name}" for name in names])
    (Path(ws.data_path) / "a").mkdir()
    for name in names:
        (Path(ws.data_path) / "a" / f"{name}.png").write_bytes(png())
    page = marked(ws, "a").report(tmp_path / "page.html")
    assert list(pictures(page)) == names[:12]
    assert "the first 12 of 40 pictures" in section(page, "results")


# --- tables --------------------------------------------------------------------------------------------------


@pytest.fixture
def tables(make_workspace):
    """A workspace of two sites, whose step a makes a table of a record."""
    names = [f"{site}{n}" for site in "AB" for n in range(1, 5)]
    ws = make_workspace({"a": ("raw/{id}", "a/{id}.csv")}, [f"raw/{name}" for name in names], id_pattern=IDS)
    (Path(ws.data_path) / "a").mkdir()
    for number, name in enumerate(names):
        (Path(ws.data_path) / "a" / f"{name}.csv").write_text(f"snr,ok,who\n{number},true,<b>Ann\n")
    return marked(ws, "a")


def test_numbers_of_tables_are_shown_by_group(tables, tmp_path):
    text = section(tables.report(tmp_path / "page.html"), "results")
    assert "8 rows of 8 files" in text
    assert "snr, mean min to max ok, mean min to max all 8 3.5 0 to 7 1" in text
    assert "site A 4 1.5 0 to 3 1 site B 4 5.5 4 to 7 1" in text
    assert "n 1" not in text  # a group has few rows
    assert "<b>Ann" in text


def test_numbers_are_shown_by_named_columns(tables, tmp_path):
    text = section(tables.report(tmp_path / "page.html", where="record_id > 'A2'", by=["site"]), "results")
    assert "all 6 4.5 2 to 7" in text


@pytest.mark.parametrize("content", [b"", b'snr\n1,2,3\n"', b"\xff\xfe\0\0"])
def test_a_table_that_cannot_be_read_is_named(tables, tmp_path, content):
    (Path(tables.data_path) / "a" / "B2.csv").write_bytes(content)
    text = section(tables.report(tmp_path / "page.html"), "results")
    assert "a/B2.csv" in text or "8 rows of 8 files" in text or "7 rows of 8 files" in text


def test_no_table_behind_a_link_is_read(tables, tmp_path):
    (tmp_path / "secret.csv").write_text("snr,ok,who\n1,true,nobody\n")
    (Path(tables.data_path) / "a" / "B2.csv").unlink()
    (Path(tables.data_path) / "a" / "B2.csv").symlink_to(tmp_path / "secret.csv")
    text = section(tables.report(tmp_path / "page.html"), "results")
    assert "a/B2.csv is a link that leads out of the dataset" in text
    assert "nobody" not in text


# --- since the last snapshot ---------------------------------------------------------------------------------


def test_without_a_snapshot_there_are_no_changes(tables, tmp_path):
    assert section(tables.report(tmp_path / "page.html"), "changes") is None


def test_changes_since_the_last_snapshot_are_counted(tables, tmp_path, cli):
    tables.snapshot()
    text = section(tables.report(tmp_path / "page.html"), "changes")
    assert text.endswith("Nothing changed.")
    (Path(tables.data_path) / "raw" / "B7").touch()
    (Path(tables.data_path) / "raw" / "B8").touch()
    (Path(tables.data_path) / "a" / "A1.csv").unlink()
    tables.refresh()
    text = section(tables.report(tmp_path / "page.html"), "changes")
    assert "2 records new B7, B8" in text
    assert "1 record changed A1" in text
    assert "1 file gone a/A1.csv" in text
    assert "2 files new raw/B7, raw/B8" in text
    assert "1 row of a from DONE to READY A1" in text
    text = section(tables.report(tmp_path / "page.html", where="site = 'B'"), "changes")
    assert "2 records new B7, B8" in text
    assert "A1" not in text
    assert cli("report", tables.config.root, "--snapshot", "-o", "then.html").returncode == 0
    assert section(tmp_path / "then.html", "changes") is None
