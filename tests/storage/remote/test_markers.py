"""Markers of folders, as consoles and tools leave them in a bucket, are never a file, an input or an output."""

import fsspec
import httpx
import pytest

from sinagot_catalog import Workspace

CHAIN = {"one": ("raw/{id}.txt", "out/{id}/"), "two": ("out/{id}/", "end/{id}.txt")}
ONE = """
    (self.path.output / "a.txt").parent.mkdir(exist_ok=True)
    (self.path.output / "a.txt").write_text("a")
"""
TWO = "self.path.output.write_text(str(len(list(self.path.input.iterdir()))))"


def run(ws, **options):
    return ws.steps.run(mode="main_process", progress=False, **options)


def open_at(write_workspace, bucket, scripts):
    folder = write_workspace(scripts, toml=f"[path]\ndataset = '{bucket.url}/data'\n")
    return Workspace(folder, storage_options=bucket.options)


def mark(bucket, key, content=b""):
    """A key that ends in a slash, which fsspec itself would not write."""
    bucket.fs.call_s3("put_object", Bucket=bucket.url.removeprefix("s3://"), Key=f"data/{key}", Body=content)


@pytest.fixture(params=["quick", "plain"])
def listing(request, monkeypatch):
    """Both ways to list a bucket; the plain way is taken where obstore cannot be used."""
    if request.param == "plain":
        from sinagot_catalog.storage.remote import cloud_listing

        monkeypatch.setattr(cloud_listing, "open_cloud", lambda *_: None)
    return request.param


@pytest.mark.usefixtures("listing")
@pytest.mark.parametrize("content", [b"", b"application/x-directory"])
@pytest.mark.parametrize("end", ["", "/"])
def test_a_marker_at_an_output_is_no_output(write_workspace, moto, content, end):
    scripts = {
        "one": ("raw/{id}.txt", f"out/{{id}}{end}", ONE if end else "copy"),
        "two": (f"out/{{id}}{end}", "end/{id}.txt", TWO if end else "copy"),
    }
    moto.put({"data/raw/R1.txt": "x", "data/raw/R2.txt": "x"})
    mark(moto, "out/R1/", content)
    mark(moto, "out/", content)
    ws = open_at(write_workspace, moto, scripts)
    steps = {one[:2]: one[2] for one in ws.steps.collect().select("record_id", "step", "status").rows()}
    assert steps["R1", "one"] == "DATA_READY"
    assert steps["R1", "two"] == "INIT"
    assert ws.files.collect()["path"].to_list() == ["raw/R1.txt", "raw/R2.txt"]
    assert run(ws).counts() == {"done": 4}
    assert set(ws.refresh().steps.collect()["status"]) == {"DONE"}
    assert ws.steps.filter("stale").collect().is_empty()
    assert run(ws).counts() == {}


@pytest.mark.usefixtures("listing")
@pytest.mark.parametrize("content", [b"", b"x"])
@pytest.mark.parametrize("pattern", ["raw/{id}", "raw/{id}/"])
def test_a_marker_at_an_input_is_no_input(write_workspace, moto, content, pattern):
    moto.put({"data/raw/R2/a.txt": "x"} if pattern.endswith("/") else {"data/raw/R2": "x"})
    mark(moto, "raw/R1/", content)
    ws = open_at(
        write_workspace, moto, {"read": (pattern, "out/{id}.txt", "self.path.output.write_text('x')")}
    )
    assert ws.records.ids() == ["R2"]
    report = ws.records.get("R1").steps.run(step_label="read", mode="main_process", progress=False)
    assert report.counts() == {"not_available": 1}
    explained = ws.explain("R1", "read")
    assert not any(one.exists for one in explained.files)


@pytest.mark.usefixtures("listing")
def test_a_marker_in_a_folder_input_is_not_fetched_and_never_makes_it_stale(write_workspace, moto):
    scripts = {"read": ("raw/{id}/", "out/{id}.txt", TWO)}
    moto.put({"data/raw/R1/a.txt": "x", "data/raw/R1/sub/b.txt": "y"})
    mark(moto, "raw/R1/")
    mark(moto, "raw/R1/sub/")
    ws = open_at(write_workspace, moto, scripts)
    assert run(ws).counts() == {"done": 1}
    assert moto.read("data/out/R1.txt") == b"2"
    assert ws.refresh().steps.filter("stale").collect().is_empty()
    assert ws._source.stores["dataset"].tree("raw/R1") == {"raw/R1/a.txt": 1, "raw/R1/sub/b.txt": 1}


@pytest.mark.usefixtures("listing")
def test_a_marker_beside_a_file_of_the_same_name_hides_it_not(write_workspace, moto):
    moto.put({"data/raw/R1": "x"})
    mark(moto, "raw/R1/")
    ws = open_at(write_workspace, moto, {"read": ("raw/{id}", "out/{id}.txt")})
    assert ws.records.ids() == ["R1"]
    assert run(ws).counts() == {"done": 1}


def test_scan_outputs_reads_no_marker(write_workspace, moto):
    moto.put({"data/raw/R1.txt": "x", "data/raw/R2.txt": "x", "data/out/R2": "a\n1\n"})
    mark(moto, "out/R1/", b"no,csv")
    ws = open_at(write_workspace, moto, {"one": ("raw/{id}.txt", "out/{id}")})
    assert ws.steps.scan_outputs(format="csv").collect()["a"].to_list() == [1]


def test_an_empty_folder_of_a_store_in_memory_is_nothing(write_workspace):
    fs = fsspec.filesystem("memory")
    fs.pipe("/markers/raw/R1.txt", b"x")
    fs.mkdir("/markers/out/R1")
    try:
        folder = write_workspace(
            {"one": ("raw/{id}.txt", "out/{id}/", ONE)}, toml="[path]\ndataset = 'memory://markers'\n"
        )
        ws = Workspace(folder)
        assert ws.steps.collect()["status"].to_list() == ["DATA_READY"]
        assert run(ws).counts() == {"done": 1}
        assert ws.refresh().steps.collect()["status"].to_list() == ["DONE"]
    finally:
        fs.rm("/markers", recursive=True)


def azure_marker(bucket, key, content=b"", **metadata):
    from azure.storage.blob import BlobServiceClient

    client = BlobServiceClient.from_connection_string(bucket.options["connection_string"])
    name = bucket.url.removeprefix("az://")
    client.get_container_client(name).upload_blob(f"data/{key}", content, metadata=metadata or None)


def test_a_marker_of_azure_is_told_by_its_metadata(write_workspace, azurite):
    azurite.put({"data/raw/R1.txt": "x", "data/raw/R2.txt": "x"})
    azure_marker(azurite, "out/R1", hdi_isfolder="true")
    azure_marker(azurite, "out/R2", Hdi_isfolder="true")
    ws = open_at(write_workspace, azurite, {"one": ("raw/{id}.txt", "out/{id}/", ONE), "two": CHAIN["two"]})
    found = ws.steps.collect().select("step", "status").rows()
    assert set(found) == {("one", "DATA_READY"), ("two", "INIT")}
    assert not ws.files.filter(role="output").collect().height
    assert run(ws).counts()["done"] >= 2
    done = ws.refresh().steps.filter(step="one").collect()
    assert done["status"].to_list() == ["DONE", "DONE"]


@pytest.mark.parametrize("kind", ["azurite", "gcs"])
def test_markers_of_other_clouds_are_nothing(request, write_workspace, kind):
    bucket = request.getfixturevalue(kind)
    bucket.put({"data/raw/R1/a.txt": "x", "data/raw/R1/sub/b.txt": "y"})
    if kind == "azurite":
        for key in ("raw/R1/sub/", "raw/R2/", "out/R1.txt/"):
            azure_marker(bucket, key)
    else:
        for key in ("raw/R1/sub/", "raw/R2/", "out/R1.txt/"):
            where = f"{bucket.endpoint}/upload/storage/v1/b/{bucket.url.removeprefix('gs://')}/o"
            told = httpx.post(where, params={"uploadType": "media", "name": f"data/{key}"}, content=b"")
            told.raise_for_status()
    ws = open_at(write_workspace, bucket, {"read": ("raw/{id}/", "out/{id}.txt", TWO)})
    assert ws.steps.collect().select("record_id", "status").rows() == [("R1", "DATA_READY")]
    assert run(ws).counts() == {"done": 1}
    assert bucket.read("data/out/R1.txt") == b"2"
    assert ws.refresh().steps.collect()["status"].to_list() == ["DONE"]


@pytest.mark.usefixtures("listing")
def test_a_key_that_is_also_the_name_of_a_folder_is_a_file_and_a_notice_names_it(write_workspace, moto):
    moto.put({"data/raw/R1": "one", "data/raw/R2": "two", "data/raw/R2/more.txt": "y"})
    ws = open_at(write_workspace, moto, {"read": ("raw/{id}", "out/{id}.txt", "copy")})
    assert ws.files.collect().select("path", "size").rows() == [("raw/R1", 3), ("raw/R2", 3)]
    assert run(ws).counts() == {"done": 2}
    assert moto.read("data/out/R2.txt") == b"tworead;"
    assert ws.refresh().steps.filter("stale").collect().is_empty()
    assert ws.notices.filter(kind="file and folder").select("count", "example").rows() == [(1, "raw/R2")]
    assert run(ws, force=True).counts() == {"done": 2}
    assert ws.refresh().steps.filter("stale").collect().is_empty()
