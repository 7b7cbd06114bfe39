"""Passwords, tokens and signatures in addresses: opened with, and never shown."""

import os
import pickle
import re
import traceback
from pathlib import Path

import pytest

from sinagot_catalog import Workspace
from sinagot_catalog.config import read_config
from sinagot_catalog.errors import ConfigError, StorageError
from sinagot_catalog.run.claimed_runs.spool import dead_spools, open_spool
from sinagot_catalog.secrets import is_secret, mask_error, masked
from sinagot_catalog.storage import open_store

ADDRESSES = [
    "ftp://ann:hush@127.0.0.1:9/lab",
    "ftp://ann:hu@sh@127.0.0.1:9/lab",
    "ftp://ann:hush sh@127.0.0.1:9/lab",
    "sftp://ann:hush@127.0.0.1:9/lab",
    "https://hush@127.0.0.1:9/lab",
    "https://hush:x-oauth-basic@127.0.0.1:9/lab",
    "http://127.0.0.1:9/lab?sv=1&sig=hush%2Fhush",
    "http://127.0.0.1:9/lab?X-Amz-Credential=hush&X-Amz-Signature=hush",
    "http://127.0.0.1:9/lab?access_key=hush&secret_key=hush",
    "http://127.0.0.1:9/lab?AWSAccessKeyId=hush&Signature=hush;token=hush",
    "http://127.0.0.1:9/lab#access_token=hush",
    "simplecache::ftp://ann:hush@127.0.0.1:9/lab",
    "zip://a.zip::https://ann:hush@127.0.0.1:9/lab",
]


@pytest.mark.parametrize("address", ADDRESSES)
def test_a_secret_is_masked_wherever_an_address_stands(address):
    assert is_secret(address)
    for text in (
        address,
        f"cannot open {address}, {address}!",
        f"<a href='{address}'>",
        repr([address, "b@c"]),
    ):
        shown = masked(text)
        assert not re.search("hush|hu@|sh@", shown), shown
        assert "127.0.0.1:9" in shown
        assert masked(shown) == shown


@pytest.mark.parametrize(
    "text",
    [
        "s3://lab/x?versionId=1",
        "abfss://box@account.dfs.core.windows.net/x",
        "sftp://ann@host:22/x",
        "github://org:repo@main/x",
        "https://host:8080/x@y",
        "http://host:8080/a, ask b@c",
        "raw/a;key=5?token=x.csv",
        "https://[::1]:80/x",
        "s3://lab/a=b&c=d",
    ],
)
def test_what_is_no_secret_is_shown_as_it_is(text):
    assert masked(text) == text
    assert not is_secret(text)


@pytest.mark.parametrize("address", ["ftp://ann:hush@127.0.0.1:9/lab", "http://hush@127.0.0.1:9/lab"])
def test_no_verb_report_repr_or_error_shows_a_secret(cli, write_workspace, address):
    toml = f'[path]\ndataset = "{address}"\n'
    folder = write_workspace({"one": ("raw/{id}", "one/{id}")}, [], toml=toml)
    for verb in ("status", "ls", "plan", "run", "doctor", "logs", "report", "watch", "snapshot"):
        words = ["--once"] if verb == "watch" else ["-o", folder / "r.html"] if verb == "report" else []
        for environment in ({}, {"SINAGOT_CATALOG_DEBUG": "1"}):
            done = cli(verb, "-C", folder, *words, **environment)
            assert "hush" not in done.stdout + done.stderr
    if address.startswith("ftp"):
        return  # what opens it is of no concern here
    ws = Workspace(folder)
    told = [
        repr(ws),
        ws._repr_html_(),
        repr(ws.config),
        repr(ws.config.path),
        repr(ws._source.stores),
        repr(ws.steps),
    ]
    told.append(repr(pickle.dumps(ws)))
    with pytest.raises(StorageError) as caught:
        ws.steps.collect()
    told += ["".join(traceback.format_exception(caught.value)), repr(caught.value)]
    assert not [text for text in told if "hush" in text]


def test_an_address_with_a_password_is_not_pickled(write_workspace):
    folder = write_workspace({"one": ("raw/{id}", "one/{id}")}, [])
    config = read_config(folder, data_path="ftp://ann:hush@127.0.0.1:9/lab")
    with pytest.raises(ConfigError, match="is not pickled: an address of the workspace holds a password"):
        pickle.dumps(config)


def fail_as_ours(address):
    try:
        (Path(address.replace("/", "")) / "x").stat()
    except OSError as error:
        error.filename = address
        raise StorageError(f"{address} is away", f"Look at {address}.") from error


def test_errors_mask_themselves_and_what_they_are_raised_from():
    address = "ftp://ann:hush@host/x"
    with pytest.raises(StorageError) as caught:
        fail_as_ours(address)
    shown = "".join(traceback.format_exception(caught.value))
    assert shown.count("ftp://ann:…@host/x") == 3
    assert "hush" not in shown + repr(caught.value) + repr(pickle.dumps(caught.value))
    loop = ValueError(address)
    loop.__context__ = OSError(2, "no such file", address, 0, address)
    loop.__context__.__context__ = loop
    mask_error(loop)
    assert "hush" not in f"{loop} {loop.__context__}"


def test_what_a_script_raises_is_kept_without_a_secret(make_workspace, script_source):
    body = "raise OSError('cannot reach https://ann:hush' + '@host/x?sig=hush')"
    ws = make_workspace({"one": script_source("raw/{id}", "one/{id}", body)}, ["raw/R1"])
    report = ws.steps.run(progress=False)
    event = ws.events().to_dicts()[-1]
    assert "https://…@host/x?sig=…" in report.frame["message"][0]
    assert "https://…@host/x?sig=…" in event["message"]
    assert "@host/x?sig=hush" not in event["traceback"].partition("OSError: ")[2]


def test_the_folder_of_a_remote_run_notes_no_secret():
    folder = open_spool("test-secret", "ftp://ann:hush@host/LOG")
    with open(f"{folder}/owner") as file:  # noqa: PTH123
        assert "hush" not in file.read()
    assert "hush" not in repr(open_store("memory://ann:hush@host/x"))
    assert folder not in [one for one, _ in dead_spools("ftp://ann:hush@host/LOG")]
    os.remove(f"{folder}/owner")  # noqa: PTH107
    os.rmdir(folder)  # noqa: PTH106
