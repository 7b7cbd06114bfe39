"""The harbour in a bucket from the command line, in a folder that holds nothing of it."""

import json

import pytest

KINDS = ("seaweed", "azurite", "gcs")


@pytest.fixture(params=KINDS)
def harbor(request, harbor_folder, cli, tmp_path):
    """The bucket, and a command line that reaches it by its environment alone."""
    bucket = request.getfixturevalue(request.param)
    bucket.upload(harbor_folder, "harbor")
    nowhere = tmp_path / "nowhere"
    nowhere.mkdir()

    def call(verb, *words, code=0):
        done = cli(verb, "-C", f"{bucket.url}/harbor", *words, cwd=nowhere, **bucket.environment)
        assert done.returncode == code, (done.stdout, done.stderr)
        return done

    yield bucket, call
    assert not list(nowhere.iterdir())


@pytest.mark.usefixtures("prefect_server")
def test_harbor_goes_through_every_verb(harbor):
    bucket, call = harbor
    assert json.loads(call("status", "--json").stdout)["totals"]["data_ready"] == 6
    assert "REC-20200601" in call("ls").stdout
    assert "9 to run" in call("plan").stdout
    kept = call("snapshot").stdout.strip()
    assert "trust" in call("run", code=2).stderr
    done = call("run", "--record", "REC-20200601", "--trust", "--json")
    assert [row["outcome"] for row in json.loads(done.stdout)] == ["done"] * 3
    done = call("submit", "--trust", "--json")
    assert [row["outcome"] for row in json.loads(done.stdout)] == ["done"] * 6
    assert json.loads(call("status", "--json").stdout)["totals"]["done"] == 9
    assert "Run finished" in call("logs", "REC-20200602").stdout
    changes = json.loads(call("diff", kept, "--json").stdout)
    assert sum(one["what"] == "file" and one["change"] == "new" for one in changes) == 9
    assert sum(one["what"] == "step" and one["after"] == "DONE" for one in changes) == 9
    raw = bucket.read("harbor/dataset/raw/REC-20200601-raw.csv").decode().splitlines()
    assert json.loads(bucket.read("harbor/dataset/summary/REC-20200601.json"))["boats"] == len(raw) - 1
    assert not [key for key in bucket.keys("harbor") if "probe" in key or "staging" in key]
