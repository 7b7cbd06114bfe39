"""Whose scripts are run: the user's own and root's, and other people's only with trust."""

import json
import os
import re
import shlex
import shutil
import struct
import tempfile
from pathlib import Path

import pytest

from sinagot_catalog import Workspace
from sinagot_catalog.config import nearest
from sinagot_catalog.config.file_owners import foreign, foreign_code
from sinagot_catalog.errors import ConfigError, UsageError

STRANGER = 54321
as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can give files to another user")

COMPUTED = """
import pathlib
from sinagot_catalog import ScriptTemplate
pathlib.Path({mark!r}).touch()
class Script(ScriptTemplate):
    PATH_IN = "".join(["raw/", "{{id}}"])
    PATH_OUT = "one/{{id}}"
    def run(self):
        self.path.output.write_text("made")
"""


@pytest.fixture
def mark(tmp_path):
    """A file that is there when the script was run."""
    return tmp_path / "was-run"


@pytest.fixture
def computed(write_workspace, mark):
    """A workspace whose script computes a pattern, and tells when it is run."""
    return write_workspace({"one": COMPUTED.format(mark=str(mark))}, ["raw/R1"])


def give_away(path):
    os.chown(path, STRANGER, STRANGER, follow_symlinks=False)


def group_writable(path):
    path.chmod(path.stat().st_mode | 0o020)
    if os.getuid() == 0:
        os.chown(path, -1, STRANGER)


SPOILERS = {
    "script, for everybody": lambda folder: (folder / "scripts/one.py").chmod(0o666),
    "script, for a group": lambda folder: group_writable(folder / "scripts/one.py"),
    "helper": lambda folder: ((folder / "scripts/helper.py").touch(), (folder / "scripts/helper.py").chmod(0o666)),
    "helper in a folder": lambda folder: (
        (folder / "scripts/lib/deep").mkdir(parents=True),
        (folder / "scripts/lib/deep/x.py").touch(),
        (folder / "scripts/lib/deep/x.py").chmod(0o602),
    ),
    "scripts folder": lambda folder: (folder / "scripts").chmod(0o777),
    "sticky scripts folder": lambda folder: (folder / "scripts").chmod(0o1777),
    "folder above": lambda folder: folder.chmod(0o777),
    "toml": lambda folder: (folder / "workspace.toml").chmod(0o666),
}  # fmt: skip

if os.getuid() == 0:
    SPOILERS |= {
        "script of another user": lambda folder: give_away(folder / "scripts/one.py"),
        "toml of another user": lambda folder: give_away(folder / "workspace.toml"),
        "scripts folder of another user": lambda folder: give_away(folder / "scripts"),
        "folder above of another user": give_away,
        "link of another user": lambda folder: (
            (folder / "scripts/one.py").rename(folder / "real.py"),
            (folder / "scripts/one.py").symlink_to("../real.py"),
            give_away(folder / "scripts/one.py"),
        ),
    }


@pytest.mark.parametrize("spoil", SPOILERS.values(), ids=SPOILERS)
def test_what_others_can_write_is_read_and_not_run(computed, mark, spoil):
    spoil(computed)
    ws = Workspace(computed)
    assert ws.steps.collect().height == 0
    assert (
        "patterns of a workspace that is not trusted are read, not run" in ws._source.layout().cells[0].error
    )
    with pytest.raises(UsageError):
        Workspace(computed, trust=False)._source.check_trusted()
    with pytest.raises(UsageError, match=r"are not run: .* (belongs to user|can be written by) "):
        ws._source.check_trusted()
    assert not mark.exists()


@pytest.mark.parametrize("spoil", SPOILERS.values(), ids=SPOILERS)
def test_what_others_can_write_is_run_where_that_is_said(computed, mark, spoil):
    spoil(computed)
    report = Workspace(computed, trust=True).steps.run(mode="main_process", progress=False)
    assert report.counts() == {"done": 1}
    assert mark.exists()


def test_own_scripts_are_run_unasked(computed, mark):
    assert Workspace(computed).steps.run(mode="main_process", progress=False).counts() == {"done": 1}
    assert mark.exists()


@pytest.mark.parametrize("mode", ["main_process", "processes"])
def test_a_run_of_scripts_that_others_can_write_is_refused_before_anything_is_written(write_workspace, mode):
    folder = write_workspace({"one": ("raw/{id}", "one/{id}")}, ["raw/R1"])
    (folder / "scripts/one.py").chmod(0o666)
    ws = Workspace(folder)
    assert ws.steps.collect()["status"].to_list() == ["DATA_READY"]
    with pytest.raises(UsageError, match=r"one\.py can be written by others"):
        ws.steps.run(mode=mode, progress=False)
    with pytest.raises(UsageError, match=r"one\.py can be written by others"):
        ws.records.get("R1").steps.get("one").script  # noqa: B018
    assert [entry.name for entry in (folder / "dataset").iterdir()] == ["raw"]


def test_a_program_of_a_command_that_others_can_write_is_not_run(write_workspace):
    toml = '[steps.one]\ncommand = "sh ../tools/one.sh {input} {output}"\n'
    toml += 'inputs = "raw/{id}"\noutputs = "one/{id}"\n'
    folder = write_workspace(
        {"two": ("raw/{id}", "two/{id}")}, ["raw/R1"], toml=f'[steps]\nscripts = ["one"]\n{toml}'
    )
    (folder / "tools").mkdir()
    (folder / "tools/one.sh").write_text('cp "$1" "$2"\n')
    assert Workspace(folder).steps.run(progress=False).counts() == {"done": 1}
    (folder / "tools/one.sh").chmod(0o666)
    with pytest.raises(UsageError, match=r"one\.sh can be written by others"):
        Workspace(folder).steps.run(force=True, progress=False)


def test_custom_classes_that_others_can_write_are_not_imported(lab_folder, mark):
    folder = lab_folder()
    models = folder / "scripts/EEG/models"
    models.mkdir(parents=True)
    (models / "record.py").write_text(
        f"import pathlib\npathlib.Path({str(mark)!r}).touch()\nclass Record:\n    pass\n"
    )
    (models / "record.py").chmod(0o666)
    assert type(Workspace(folder).EEG.get("R1")).__name__ == "Record"
    assert not mark.exists()


def test_commands_name_who_can_write_a_script_and_take_trust(cli, computed, mark):
    (computed / "scripts/one.py").chmod(0o666)
    done = cli("status", computed)
    assert f"{computed}/scripts/one.py can be written by others" in done.stdout + done.stderr
    assert cli("run", computed).returncode == 3
    assert "one.py can be written by others" in cli("doctor", computed).stdout
    assert not mark.exists()
    assert cli("run", computed, "--trust").returncode == 0
    assert mark.exists()


def test_a_proposed_run_has_the_trust_that_it_needs(cli, write_workspace):
    folder = write_workspace({"a": ("raw/{id}", "a/{id}")}, ["raw/R1", "raw/R2"])
    (folder / "scripts/a.py").chmod(0o666)
    why = f"--trust only if you trust the scripts: {folder}/scripts/a.py can be written by others)"
    for words in (["status"], ["explain", "R1", "a"]):
        told = cli(*words, "-C", folder).stdout
        assert why in told
        proposed = re.search(r"sinagot-catalog (run .*?)   \(", told)[1]
        assert proposed.endswith(" --trust")
        told = cli(*words, "-C", folder, "--trust").stdout
        assert "--trust" in re.search("sinagot-catalog run .*", told)[0]
        assert why not in told
    done = cli(*shlex.split(proposed))
    assert (done.returncode, (folder / "dataset/a/R1").exists()) == (0, True)
    for words in (
        [],
        ["--trust"],
    ):  # a program does not see the reason, so it gets --trust only if it gave it
        proposed = json.loads(cli("status", folder, "--json", *words).stdout)["next"]["command"]
        assert proposed.endswith(" --trust") == bool(words)


# --- what is one's own -----------------------------------------------------------------------------------------


def test_an_own_entry_of_a_sticky_folder_of_root_is_safe():
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    try:
        (folder / "a.py").touch(mode=0o600)
        assert foreign(str(folder / "a.py")) is None
        assert foreign_code(str(folder)) is None
        assert foreign("/tmp") == "/tmp can be written by others"  # noqa: S108
        assert foreign(f"{folder}-gone") == foreign("/tmp")  # noqa: S108
    finally:
        shutil.rmtree(folder)


@as_root
def test_another_users_entry_of_a_sticky_folder_is_not_safe(tmp_path):
    tmp_path.chmod(0o1777)
    for name in ("own", "theirs"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.py").touch()
    give_away(tmp_path / "theirs")
    assert foreign(str(tmp_path / "own/a.py")) is None
    assert foreign(str(tmp_path / "theirs/a.py")) == f"{tmp_path}/theirs belongs to user {STRANGER}"


@as_root
def test_every_hop_of_a_link_is_looked_at(tmp_path):
    safe, open_to_all = tmp_path / "safe", tmp_path / "open"
    safe.mkdir()
    open_to_all.mkdir()
    (safe / "real.py").touch()
    (open_to_all / "hop").symlink_to(safe / "real.py")
    (safe / "a.py").symlink_to("../open/hop")
    (safe / "b.py").symlink_to("../safe/./../safe/real.py")
    assert foreign(str(safe / "a.py")) is None
    open_to_all.chmod(0o777)
    assert foreign(str(safe / "a.py")) == f"{open_to_all} can be written by others"
    assert foreign(str(safe / "b.py")) is None
    assert foreign_code(str(safe)) == f"{open_to_all} can be written by others"
    give_away(safe / "b.py")
    assert foreign(str(safe / "b.py")) == f"the link {safe}/b.py belongs to user {STRANGER}"
    (safe / "loop").symlink_to("loop")
    assert foreign(str(safe / "loop")) == f"{safe}/loop goes through too many links"


def test_a_private_group_is_the_user_unless_an_access_list_names_others(tmp_path):
    import grp
    import pwd

    own = pwd.getpwuid(os.getuid())
    if grp.getgrgid(own.pw_gid).gr_name != own.pw_name:
        pytest.skip("this user has no private group")
    file = tmp_path / "a.py"
    file.touch()
    os.chown(file, -1, own.pw_gid)
    file.chmod(0o660)
    assert foreign(str(file)) is None
    entries = [(1, 6, -1), (2, 6, STRANGER), (4, 6, -1), (16, 6, -1), (32, 0, -1)]
    packed = struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *entry) for entry in entries)
    try:
        os.setxattr(file, "system.posix_acl_access", packed)
    except OSError:
        pytest.skip("this disk has no access control lists")
    assert foreign(str(file)) == f"{file} can be written by others through its access control list"


def test_data_among_the_scripts_are_left_out(tmp_path):
    (tmp_path / "dataset/raw").mkdir(parents=True)
    (tmp_path / "dataset/raw").chmod(0o777)
    (tmp_path / ".cache").mkdir(mode=0o777)
    (tmp_path / "one.py").touch()
    assert foreign_code(str(tmp_path), leave_out=[str(tmp_path / "dataset")]) is None
    assert foreign_code(str(tmp_path)) == f"{tmp_path}/dataset/raw can be written by others"


# --- workspaces above ------------------------------------------------------------------------------------------


def test_a_workspace_above_is_opened_unasked_only_where_nobody_else_can_write(cli, write_workspace):
    folder = write_workspace({"one": ("raw/{id}", "one/{id}")}, ["raw/R1"])
    inside = folder / "dataset/raw"
    assert cli("status", cwd=inside).returncode == 0
    folder.chmod(0o777)
    for verb in ("status", "ls", "plan", "run", "doctor", "logs"):
        done = cli(verb, cwd=inside)
        assert done.returncode == 2, done.stderr
        assert f"is not opened unasked: {folder} can be written by others" in done.stderr
        assert f"-C {folder}" in done.stderr
    assert cli("status", "-C", folder, cwd=inside).returncode == 0
    assert cli("status", cwd=folder).returncode == 0
    assert cli("completion", "bash", "sinagot-catalog", "run", "--step", "", cwd=inside).stdout == ""
    folder.chmod(0o755)
    assert "one" in cli("completion", "bash", "sinagot-catalog", "run", "--step", "", cwd=inside).stdout


@as_root
def test_a_config_above_that_another_user_planted_is_not_opened_unasked(tmp_path):
    (tmp_path / "workspace.toml").touch()
    (tmp_path / "below").mkdir()
    assert nearest(str(tmp_path / "below")) == str(tmp_path)
    give_away(tmp_path / "workspace.toml")
    with pytest.raises(ConfigError, match=f"workspace.toml belongs to user {STRANGER}"):
        nearest(str(tmp_path / "below"))


@pytest.mark.usefixtures("prefect_server")
def test_what_lies_in_the_current_folder_is_not_imported(cli, write_workspace, tmp_path, mark):
    folder = write_workspace({"one": ("raw/{id}", "one/{id}")}, ["raw/R1", "raw/R2"])
    planted = tmp_path / "planted"
    planted.mkdir()
    for name in ("sinagot_catalog", "json", "polars", "logging", "prefect", "mmap"):
        (planted / f"{name}.py").write_text(f"import os\nos.close(os.open({str(mark)!r}, os.O_CREAT))\n")
    assert cli("status", folder, cwd=planted).returncode == 0
    assert cli("run", folder, "--record", "R1", cwd=planted).returncode == 0
    assert cli("submit", folder, "--no-wait", cwd=planted).returncode == 0
    assert not mark.exists()
