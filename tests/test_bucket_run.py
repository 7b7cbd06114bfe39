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
