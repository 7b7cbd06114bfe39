"""A run whose dataset, outputs or journal lie in a bucket."""

import pytest

from sinagot_catalog import Workspace


@pytest.fixture
def harbor_url(moto, harbor_folder):
    return moto.upload(harbor_folder, "harbor")


@pytest.mark.parametrize("mode", ["processes", "main_process"])
def test_harbor_runs_in_a_bucket(moto, harbor_url, mode):
    ws = Workspace(harbor_url, storage_options=moto.options, trust=True)
    report = ws.steps.run(mode=mode, workers=2, progress=False)
    assert report.counts() == {"done": 9}, report.frame
    assert ws.steps.collect()["status"].unique().to_list() == ["DONE"]
    assert ws.refresh().steps.collect()["status"].unique().to_list() == ["DONE"]
    keys = moto.keys("harbor/dataset")
    assert len([key for key in keys if "/LOG/" not in key]) == 12
    assert ws.events().group_by("event").len().sort("event").rows() == [("done", 9), ("start", 9)]


def test_next_inputs_are_fetched_while_a_script_runs(seaweed, write_workspace, tmp_path):
    """A script that sees the inputs of the rows behind it lie there was not kept waiting for them."""
    seen = tmp_path / "seen"
    body = f"""
    import time
    here = self.path.input.parent
    end = time.monotonic() + 300
    while self.id == "R0" and len(list(here.iterdir())) < 2 and time.monotonic() < end:
        time.sleep(0.01)
    with open({str(seen)!r}, "a") as file:
        file.write(f"{{self.id}} {{len([one for one in here.iterdir() if one.suffix == '.txt'])}}\\n")
    self.path.output.write_text(self.path.input.read_text())
    """
    folder = write_workspace(
        {"copy": ("raw/{id}.txt", "out/{id}.txt", body)}, {f"raw/R{n}.txt": f"text {n}" for n in range(8)}
    )
    ws = Workspace(seaweed.upload(folder, "one"), storage_options=seaweed.options, trust=True)
    assert ws.steps.run(workers=1, progress=False).counts() == {"done": 8}
    assert int(seen.read_text().splitlines()[0].split()[1]) > 1
    for n in range(8):
        assert seaweed.read(f"one/dataset/out/R{n}.txt") == f"text {n}".encode()


def test_fetch_limit_holds_for_what_is_fetched_ahead(seaweed, write_workspace, tmp_path):
    most = tmp_path / "most"
    body = f"""
    import time
    here = self.path.input.parent
    end = time.monotonic() + 300
    while self.id == "R00" and len(list(here.iterdir())) < 2 and time.monotonic() < end:
        time.sleep(0.01)
    time.sleep(0.05)
    held = sum(one.stat().st_size for one in here.iterdir())
    with open({str(most)!r}, "a") as file:
        file.write(f"{{held}}\\n")
    self.path.output.write_text("x")
    """
    folder = write_workspace(
        {"read": ("raw/{id}.txt", "out/{id}.txt", body)},
        {f"raw/R{n:02}.txt": "y" * 1000 for n in range(12)},
        toml="[run]\nfetch_limit = 2500\n",
    )
    ws = Workspace(seaweed.upload(folder, "one"), storage_options=seaweed.options, trust=True)
    assert ws.steps.run(workers=1, progress=False).counts() == {"done": 12}
    held = [int(line) for line in most.read_text().splitlines()]
    assert max(held) == 2000


def test_step_that_makes_an_input_anew_is_waited_for(seaweed, write_workspace):
    """With `force` the old outputs lie there: none of them is fetched ahead of the step that makes it again."""
    stamp = "self.path.output.write_text(self.path.input.read_text() + str(time.time_ns()))"
    scripts = {
        "first": ("raw/{id}", "a/{id}", f"import time\n{stamp}"),
        "second": ("a/{id}", "b/{id}"),
        "third": ("b/{id}", "c/{id}"),
    }
    folder = write_workspace(scripts, [f"raw/R{n}" for n in range(5)])
    ws = Workspace(seaweed.upload(folder, "one"), storage_options=seaweed.options, trust=True)
    for _ in range(2):
        assert ws.steps.run(workers=1, force=True, progress=False).counts() == {"done": 15}
        for n in range(5):
            made = seaweed.read(f"one/dataset/a/R{n}")
            assert seaweed.read(f"one/dataset/c/R{n}") == made + b"second;third;"
