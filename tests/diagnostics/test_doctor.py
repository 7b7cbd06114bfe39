"""`sinagot-catalog doctor`: what is wrong with a set-up."""

import json
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from sinagot_catalog import Workspace
from sinagot_catalog.diagnostics import doctor as _doctor


def examine(place):
    return list(_doctor.examine(lambda: Workspace(place)._source))


def said(folder, state=None):
    return [f"{one.area}: {one.text}" for one in examine(str(folder)) if state in (None, one.state)]


def test_a_fresh_example_is_in_order(cli, harbor_folder):
    done = cli("doctor", harbor_folder)
    assert done.returncode == 0, done.stdout
    assert done.stderr == ""
    assert "ok    records   3 records in 3 files\n" in done.stdout
    assert "ok    patterns  raw/{id}-raw.csv: 3 of 3 records\n" in done.stdout
    assert "ok    scripts   3 scripts can be read: count.py, mean.py, summary.py\n" in done.stdout
    assert "ok    writing   outputs: " in done.stdout
    assert "FAIL" not in done.stdout
    assert not (harbor_folder / "dataset" / "LOG").exists()


def test_json_has_the_documented_keys(cli, harbor_folder):
    told = json.loads(cli("doctor", harbor_folder, "--json").stdout)
    assert list(told) == ["checks", "counts"]
    assert list(told["checks"][0]) == ["area", "state", "text", "hint"]
    assert told["counts"]["fault"] == 0


def test_a_fault_of_the_config_ends_2_and_the_rest_is_still_looked_at(cli, tmp_path):
    (tmp_path / "workspace.toml").write_text("[records]\nid_pattern = 'R'\n[run]\nmode = 'main_proces'\n")
    done = cli("doctor")
    assert done.returncode == 2
    assert "FAIL  config    workspace.toml: run.mode: 'main_proces'" in done.stdout
    assert "did you mean 'main_process'?" in done.stdout
    assert "  prefect " in done.stdout
    assert "Traceback" not in done.stderr


def test_without_a_workspace_it_says_how_to_make_one(cli):
    done = cli("doctor")
    assert done.returncode == 2
    assert "sinagot-catalog init" in done.stderr


def test_an_absent_dataset_is_a_fault(harbor_folder):
    (harbor_folder / "dataset").rename(harbor_folder / "datasets")
    assert any(
        "dataset" in one and "does not exist; did you mean 'datasets'?" in one
        for one in said(harbor_folder, "fault")
    )


def test_files_that_nearly_match_are_named_with_their_pattern(write_workspace):
    folder = write_workspace({"a": ("raw/{id}.csv", "a/{id}")}, ["raw/R1.csv", "raw/BOAT.csv", "raw/R2.CSV"])
    warned = said(folder, "warning")
    assert "patterns: raw/BOAT.csv does not match raw/{id}.csv, which it resembles most" in warned
    assert "patterns: raw/R2.CSV does not match raw/{id}.csv, which it resembles most" in warned
    assert said(folder, "fault") == []


def test_files_behind_another_alternative_are_counted(write_workspace):
    either = """
from sinagot_catalog import ScriptTemplate, any_of
class Script(ScriptTemplate):
    PATH_IN = any_of("raw/{id}.csv", "raw/{id}.tsv")
    PATH_OUT = "a/{id}"
    def run(self): ...
"""
    folder = write_workspace({"a": either}, ["raw/R1.csv", "raw/R1.tsv", "raw/R2.tsv"])
    told = [one for one in said(folder, "ok") if one.startswith("patterns")]
    assert told == [
        "patterns: raw/{id}.csv: 1 of 2 records",
        "patterns: raw/{id}.tsv: 2 of 2 records; 1 not read, as another alternative comes first",
    ]


def test_a_pattern_that_finds_nothing_and_a_dataset_without_records_are_warned_of(write_workspace):
    folder = write_workspace({"a": ("raw/{id}.csv", "a/{id}"), "b": ("side/{id}", "b/{id}")}, ["raw/R1.csv"])
    assert "patterns: side/{id}: no file matches, and no step makes it" in said(folder, "warning")
    empty = write_workspace({"a": ("raw/{id}.csv", "a/{id}")}, name="empty")
    assert any(one.startswith("records: no file is one of a record") for one in said(empty, "warning"))


def test_one_broken_script_is_a_warning_and_only_broken_ones_are_a_fault(write_workspace):
    folder = write_workspace({"a": ("raw/{id}", "a/{id}"), "b": "def (:\n"}, ["raw/R1"])
    assert any("b.py:1" in one for one in said(folder, "warning"))
    assert said(folder, "fault") == []
    broken = write_workspace({"b": "def (:\n"}, ["raw/R1"], name="broken")
    assert any("b.py:1" in one for one in said(broken, "fault"))


def test_what_a_script_imports_is_looked_for_and_not_imported(write_workspace, script_source):
    source = script_source(
        "raw/{id}", "a/{id}", head="import polars, nowhere_at_all.x, beside\nfrom . import y"
    )
    folder = write_workspace({"a": source}, ["raw/R1"])
    (folder / "scripts" / "beside.py").write_text("raise SystemExit('imported')\n")
    warned = [one for one in said(folder, "warning") if "imports" in one]
    assert warned == ["scripts: a.py imports nowhere_at_all, which this Python does not find"]


def test_a_program_that_is_not_there_is_named(write_workspace):
    toml = """
    [steps]
    scripts = ["a"]
    [steps.a]
    command = "Rscriptt clean.R {input} {output}"
    inputs = "raw/{id}"
    outputs = "a/{id}"
    """
    folder = write_workspace({}, ["raw/R1"], toml=toml)
    assert "scripts: step a calls Rscriptt, which is not on the PATH" in said(folder, "warning")


def test_steps_that_wait_for_each_other_are_a_fault(write_workspace):
    folder = write_workspace({"a": ("b/{id}", "a/{id}"), "b": ("a/{id}", "b/{id}")}, ["a/R1"])
    assert any("steps wait for each other" in one for one in said(folder, "fault"))


def test_links_that_are_left_out_are_said(write_workspace, tmp_path):
    folder = write_workspace({"a": ("raw/{id}", "a/{id}")}, ["raw/R1"])
    (tmp_path / "elsewhere").mkdir()
    (folder / "dataset" / "raw" / "R2").symlink_to(tmp_path / "elsewhere")
    assert "dataset: 1 link to a folder is left out, such as raw/R2" in said(folder, "warning")


def test_rows_that_a_dead_run_lost_are_said(make_workspace, journal_of):
    ws = make_workspace({"a": ("raw/{id}", "a/{id}")}, ["raw/R1"])
    journal_of(ws, "a").write("start", "R1")
    assert "journal: 1 row lost by a run that died" in said(ws.config.root, "warning")


def test_a_folder_that_may_not_be_written_is_a_fault(write_workspace):
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "workspace")
        write_workspace({"a": ("raw/{id}", "a/{id}")}, ["raw/R1"]).rename(root)
        Path(folder).chmod(0o755)
        Path(root, "dataset").chmod(0o555)
        program = """if True:
            import os, sys
            from sinagot_catalog import Workspace
            from sinagot_catalog.diagnostics import examine
            opened = lambda: Workspace(sys.argv[1])._source
            list(examine(opened))
            if os.getuid() == 0:
                os.setuid(65534)
            print([one.text for one in examine(opened) if one.state == "fault"])
        """
        done = subprocess.run(
            [sys.executable, "-c", program, root], capture_output=True, text=True, timeout=300, check=True
        )
        Path(root, "dataset").chmod(0o755)
    assert done.stdout.count("may not be written to") == 2


def test_a_prefect_api_that_does_not_answer_is_a_warning_and_a_fault_only_where_runs_need_it(
    cli, write_workspace
):
    folder = write_workspace({"a": ("raw/{id}", "a/{id}")}, ["raw/R1"])
    needing = write_workspace(
        {"a": ("raw/{id}", "a/{id}")}, ["raw/R1"], toml="[run]\nmode = 'prefect'\n", name="p"
    )
    with socket.socket() as kept:  # a port that nobody listens on, and nobody else gets
        kept.bind(("127.0.0.1", 0))
        silent = {"PREFECT_API_URL": f"http://127.0.0.1:{kept.getsockname()[1]}/api"}
        done = cli("doctor", folder, **silent)
        assert done.returncode == 0
        assert "warn  prefect   The Prefect API at " in done.stdout
        assert cli("doctor", needing, **silent).returncode == 2


def test_a_known_clash_of_versions_is_said(tmp_path, harbor_folder):
    for name, version in (("fastapi", "0.155.0"), ("prefect", "3.8.1")):
        folder = tmp_path / "site" / f"{name}-{version}.dist-info"
        folder.mkdir(parents=True)
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    program = f"""if True:
        from sinagot_catalog import Workspace
        from sinagot_catalog.diagnostics import examine
        opened = lambda: Workspace({str(harbor_folder)!r})._source
        print([one.text for one in examine(opened) if one.state == "warning"])
    """
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True, text=True, timeout=300, check=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
    )  # fmt: skip
    assert "Prefect 3.8.1 does not work with FastAPI 0.155.0" in done.stdout


def test_it_imports_no_prefect(harbor_folder):
    program = f"""if True:
        import sys
        from sinagot_catalog import Workspace
        from sinagot_catalog.diagnostics import examine
        list(examine(lambda: Workspace({str(harbor_folder)!r})._source))
        print("prefect" in sys.modules)
    """
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=300, check=True
    )
    assert done.stdout == "False\n"


def test_a_dataset_in_a_bucket_says_what_a_run_would(write_workspace):
    import fsspec

    fs = fsspec.filesystem("memory")
    fs.pipe("/boats/raw/R1", b"raw")
    folder = write_workspace({"a": ("raw/{id}", "a/{id}")}, toml="[path]\ndataset = 'memory://boats'\n")
    found = examine(str(folder))
    assert "records: 1 record in 1 file" in said(folder)
    assert {one.area for one in found} >= {"writing", "patterns", "prefect"}


def test_patterns_that_groups_read_count_records_and_no_groups(cli, write_workspace):
    toml = """
    [records]
    id_pattern = '(?P<sub>s\\d)_\\d'
    [steps]
    scripts = ["c"]
    [steps.c]
    command = "sh join.sh {output} {input.raw} {input.about}"
    inputs = {raw = "raw/{id}", about = "about.json"}
    outputs = "c/{sub}"
    by = ["sub"]
    """
    folder = write_workspace(toml=toml, files=["raw/s1_1", "raw/s1_2", "raw/s2_1", "about.json"])
    told = cli("doctor", folder).stdout
    assert "raw/{id}: 3 of 3 records" in told
    assert "about.json: 3 of 3 records" in told


def test_scripts_that_no_list_names_are_named_with_where_to_add_them(cli, write_workspace):
    folder = write_workspace({"clean": ("raw/{id}.csv", "out/{id}.csv")}, ["raw/R1.csv"])
    scripts = folder / "scripts"
    (scripts / "mean.py").write_text((scripts / "clean.py").read_text())
    (scripts / "flow.py").write_text(
        "import sinagot_catalog as sc\n\n\n@sc.step(inputs='a', outputs='b')\ndef flow(): ...\n"
    )
    (scripts / "helpers.py").write_text(
        "from sinagot_catalog import ScriptTemplate\n\n\nclass Base(ScriptTemplate): ...\n"
    )
    (scripts / "broken.py").write_text("def (:\n")
    told = cli("doctor", folder)
    assert told.returncode == 0
    assert "no list names the script mean.py: it is no step" in told.stdout
    assert "add 'mean' to scripts of [steps] in workspace.toml" in told.stdout
    assert "no list names the script flow.py" in told.stdout
    for name in ("clean", "helpers", "broken"):
        assert f"the script {name}.py" not in told.stdout


def test_a_script_of_a_modality_that_no_list_names_is_named_with_its_section(cli, lab):
    scripts = Path(lab.scripts_path, "EEG")
    (scripts / "beta.py").write_text((scripts / "clean.py").read_text())
    told = cli("doctor", lab.config.root).stdout
    assert "no list names the script EEG/beta.py" in told
    assert "add 'beta' to scripts of [modalities.EEG]" in told
    assert told.count("no list names") == 1


def test_a_folder_of_a_pattern_that_is_misspelt_is_answered_with_the_nearest(write_workspace):
    scripts = {"a": ("row/{id}", "masks/{id}"), "b": ("mask/{id}", "b/{id}"), "c": ("raw/{id}", "c/{id}")}
    folder = write_workspace(scripts, ["raw/R1", "masks/R1"])
    told = said(folder, "warning")
    assert "patterns: row/{id}: no file matches, and no step makes it; did you mean 'raw'?" in told
    assert "patterns: mask/{id}: no file matches, and no step makes it; did you mean 'masks'?" in told


def test_a_script_of_a_modality_that_lies_beside_its_folder_is_answered_with_what_to_move(
    cli, write_workspace
):
    toml = """
[records]
id_pattern = 'R[0-9]'
[tasks.T]
modalities = ["CAM"]
[modalities.CAM]
scripts = ["a"]
"""
    folder = write_workspace({"a": ("raw/{id}", "a/{id}")}, ["raw/R1"], toml=toml)
    told = cli("status", folder)
    assert f"there is no folder {folder}/scripts/CAM of scripts; make it, and move a.py there" in told.stderr


def test_a_step_that_needs_more_than_the_machine_has_is_a_warning(write_workspace):
    toml = (
        "[records]\nid_pattern = 'R[0-9]'\n[steps]\nscripts = ['a', 'b']\n[steps.{}.resources]\ncpus = {}\n"
    )
    scripts = {"a": ("raw/{id}", "a/{id}"), "b": ("a/{id}", "b/{id}")}
    folder = write_workspace(scripts, ["raw/R1"], toml=toml.format("b", 9999))
    assert "a run here would be refused: step b needs 9999 cpus" in str(said(folder, "warning"))
    (folder / "workspace.toml").write_text(toml.format("b", 1))
    assert "refused" not in str(said(folder, "warning"))


def test_a_scripts_folder_that_is_misspelt_is_answered_with_the_nearest(cli, harbor_folder):
    toml = harbor_folder / "workspace.toml"
    toml.write_text(toml.read_text().replace('scripts = "scripts"', 'scripts = "script"'))
    told = cli("status", harbor_folder)
    assert f"there is no folder {harbor_folder}/script of scripts; did you mean 'scripts'?" in told.stderr
    assert "holds no file of a record" not in told.stderr
