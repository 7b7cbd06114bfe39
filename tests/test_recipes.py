"""The commands of `example/recipes.md` run and give what stands there; R and MATLAB are played by a copy."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
from moto.server import ThreadedMotoServer

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "example" / "recipes.md"
STANDS_IN = """#!/bin/sh
# plays Rscript and matlab: copies the input to the output
case "$1" in
  -batch) set -- $(echo "$2" | sed "s/.*('\\(.*\\)', '\\(.*\\)').*/\\1 \\2/"); cp "$1" "$2" ;;
  *) cp "$2" "$3" ;;
esac
"""


def readme_tests():
    """The helpers that run the blocks of a page."""
    spec = importlib.util.spec_from_file_location("readme_tests", ROOT / "tests" / "test_readme.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def lake():
    """The environment of a store that holds two days of the harbour."""
    import boto3

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    environment = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    client = boto3.client(
        "s3",
        endpoint_url=environment["AWS_ENDPOINT_URL"],
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
        region_name="us-east-1",
    )
    client.create_bucket(Bucket="lab")
    for day in ("REC-20200601", "REC-20200602"):
        text = (ROOT / "example" / "harbor" / "dataset" / "raw" / f"{day}-raw.csv").read_bytes()
        client.put_object(Bucket="lab", Key=f"harbour/raw/{day}-raw.csv", Body=text)
    yield environment
    server.stop()


@pytest.mark.filterwarnings("ignore")  # of moto's own server
def test_the_commands_of_the_recipes_give_what_stands_there(tmp_path, lake):
    readme = readme_tests()
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("Rscript", "matlab"):
        (programs / name).write_text(STANDS_IN)
        (programs / name).chmod(0o755)
    environment = readme.environment_of(**lake)
    environment["PATH"] = f"{programs}:{environment['PATH']}"
    blocks = readme.blocks(PAGE)
    for kind, text in blocks:
        named = re.match(r"# (\S+)/workspace\.toml\n", text)
        if kind == "toml" and named:
            (tmp_path / named[1]).mkdir()
            (tmp_path / named[1] / "workspace.toml").write_text(text)
    for kind, text in blocks:
        if kind == "console":
            readme.run_console(text, tmp_path, environment)
    for kind, text in blocks:
        if kind == "python":
            done = subprocess.run(
                [sys.executable, "-c", text],
                cwd=tmp_path,
                env=environment,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert (done.returncode, done.stderr) == (0, "<RunReport | nothing to do>\n")


def test_the_modules_that_the_architecture_names_are_there():
    text = (ROOT / "example" / "architecture.md").read_text()
    table = "".join(line for line in text.splitlines() if line.startswith("| "))
    named = set(re.findall(r"`(\w+)`", table))
    package = ROOT / "sinagot_catalog"
    assert len(named) > 30
    assert [name for name in named if not any((package / one).exists() for one in (name, f"{name}.py"))] == []
