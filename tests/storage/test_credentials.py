"""Listing, reading, writing and scan_outputs ask the same store with the same keys."""

from pathlib import Path

import pytest

from sinagot_catalog import Workspace

SCRIPTS = {"clean": ("raw/{id}.csv", "out/{id}.csv")}
FILES = {"data/raw/R1.csv": "a\n1\n", "data/raw/R2.csv": "a\n2\n"}


@pytest.fixture
def requests(moto, monkeypatch):
    """The headers of all that the server was asked since it is looked at."""
    import moto.server  # noqa: F401 - the server runs in this process
    from werkzeug.serving import WSGIRequestHandler

    seen = []
    plain = WSGIRequestHandler.make_environ

    def make_environ(self):
        seen.append({key.lower(): value for key, value in self.headers.items()})
        return plain(self)

    monkeypatch.setattr(WSGIRequestHandler, "make_environ", make_environ)
    return seen


def workspace(write_workspace, bucket, **options):
    folder = write_workspace(SCRIPTS, toml=f"[path]\ndataset = '{bucket.url}/data'\n")
    return Workspace(folder, **options)


def use(ws):
    """Look, run and read back."""
    assert ws.records.ids() == ["R1", "R2"]
    assert ws.steps.run(mode="main_process", progress=False).counts() == {"done": 2}
    assert sorted(ws.steps.scan_outputs().collect()["a"].to_list()) == ["1", "2", "clean;", "clean;"]


def test_a_session_token_of_the_environment_goes_with_no_other_keys(
    write_workspace, moto, requests, monkeypatch
):
    moto.put(FILES)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "OTHERKEY")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "other")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token-of-another-account")
    requests.clear()
    use(workspace(write_workspace, moto, storage_options=moto.options))
    assert requests
    assert not [one for one in requests if "token-of-another-account" in one.get("x-amz-security-token", "")]
    assert all(f"Credential={moto.options['key']}/" in one["authorization"] for one in requests)


def test_keys_of_the_environment_go_with_their_token(write_workspace, moto, requests, monkeypatch):
    moto.put(FILES)
    for name, value in moto.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token-of-these-keys")
    requests.clear()
    use(workspace(write_workspace, moto))
    assert {one.get("x-amz-security-token") for one in requests} == {"token-of-these-keys"}


@pytest.mark.parametrize("names", ["services", "profile"])
def test_an_endpoint_of_the_files_of_aws_is_asked_by_all(write_workspace, moto, monkeypatch, tmp_path, names):
    moto.put(FILES)
    for name in (*moto.environment, "AWS_ENDPOINT_URL_S3", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    text = "[default]\nregion = us-east-1\nservices = lab\n"
    text += f"[services lab]\ns3 =\n  endpoint_url = {moto.endpoint}\n"
    if names == "profile":
        text = f"[default]\nregion = us-east-1\nendpoint_url = {moto.endpoint}\n"
    (tmp_path / "config").write_text(text)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    keys = {"key": moto.options["key"], "secret": moto.options["secret"]}
    use(workspace(write_workspace, moto, storage_options=keys))


@pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"])
def test_an_endpoint_that_is_given_wins_over_the_environment_for_all(
    write_workspace, moto, monkeypatch, name
):
    moto.put(FILES)
    monkeypatch.setenv(name, "http://127.0.0.1:9")
    use(workspace(write_workspace, moto, storage_options=moto.options))


def test_given_keys_list_and_read_with_keys_of_another_account_in_the_environment(
    write_workspace, moto, monkeypatch
):
    moto.put(FILES)
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token-of-another-account")
    use(workspace(write_workspace, moto, storage_options=moto.options))


def test_workers_use_the_same_keys(write_workspace, moto, monkeypatch):
    moto.put(FILES)
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token-of-another-account")
    ws = workspace(write_workspace, moto, storage_options=moto.options)
    assert ws.steps.run(progress=False, workers=2).counts() == {"done": 2}
    assert Path(moto.read("data/out/R1.csv").decode()).name.endswith("clean;")
