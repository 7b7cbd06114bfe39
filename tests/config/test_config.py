"""A `workspace.toml` becomes one frozen `Config`; every fault is told with its address, all at once."""

import pickle
import subprocess
import sys
import textwrap

import pytest

from sinagot_catalog.config import read_config
from sinagot_catalog.errors import ConfigError

LEAST = "[records]\nid_pattern = 'REC-\\d+'\n"


@pytest.fixture
def write(tmp_path):
    def write(text, name="workspace.toml"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return path

    return write


@pytest.fixture
def faults(write):
    def faults(text, *, least=LEAST):
        with pytest.raises(ConfigError) as caught:
            read_config(write(least + textwrap.dedent(text)))
        return caught.value.message.splitlines()

    return faults


# -- what is read ---------------------------------------------------------------------------------------


def test_defaults_are_per_key(write, tmp_path):
    config = read_config(write(LEAST + "[path]\nscripts = 'code'\n[run]\nworkers = 3\n"))
    assert config.root == str(tmp_path)
    assert config.dataset == str(tmp_path / "dataset")
    assert config.scripts == str(tmp_path / "code")
    assert config.outputs == config.dataset
    assert config.log == str(tmp_path / "dataset" / "LOG")
    assert (config.run.mode, config.run.workers, config.run.lease) == ("processes", 3, 60)
    assert (config.logging.name, config.logging.format) == ("sinagot", "%(asctime)s : %(message)s")
    assert config.info.version is None
    assert config.is_unit_mode
    assert config.notices == []


def test_a_folder_or_its_file_may_be_given(write, tmp_path):
    file = write(LEAST)
    assert read_config(tmp_path) == read_config(str(file)) == read_config([file])


def test_every_setting_of_the_seed_is_understood(write):
    config = read_config(
        write(r"""
        [path]
        dataset = "../data"
        scripts = "./scripts"
        [records]
        id_pattern = "[A-Z]+-\\d+"
        file_match = "x"
        [run]
        mode = "main_process"
        [log]
        name = "lab"
        format = "%(message)s"
        level = "debug"
        [tasks.RS]
        modalities = ["EEG", "behavior"]
        [modalities.EEG]
        scripts = ["preprocess"]
        task_scripts.RS = ["alpha"]
        file_match = 1
        [modalities.behavior]
        models.plugin = "pandas"
        models.data_path = ["behavior", "{id}.json"]
        models.record = "Custom"
        [processed.alpha]
        task = "RS"
        modality = "EEG"
        step_label = "alpha"
        path_label = "table"
        data_type = "float"
        data_getter = "series_from_csv"
        columns = ["x"]
        [info]
        version = "1.2"
        """)
    )
    assert config.run.mode == "main_process"
    assert config.logging.level == "DEBUG"
    assert config.tasks["RS"].modalities == ("EEG", "behavior")
    assert config.modalities["EEG"].steps("RS") == ("preprocess", "alpha")
    assert config.modalities["EEG"].steps(None) == ("preprocess", "alpha")
    assert config.modalities["behavior"].models.data_path == ("behavior", "{id}.json")
    assert config.processed["alpha"].data_getter == "series_from_csv"
    assert config.info.version == "1.2"
    assert not config.is_unit_mode


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("dataset", "here/dataset"),
        ("./dataset", "here/dataset"),
        (".", "here"),
        ("..", ""),
        ("../x/./y", "x/y"),
        ("a+b (1)/x[1]", "here/a+b (1)/x[1]"),
    ],
)
def test_paths_are_relative_to_the_config_file(write, tmp_path, monkeypatch, written, found):
    write(f"{LEAST}[path]\ndataset = {written!r}\n", "here/workspace.toml")
    monkeypatch.chdir("/")
    assert read_config(tmp_path / "here").dataset == str(tmp_path / found)


def test_absolute_paths_homes_and_urls_are_kept(write, monkeypatch):
    monkeypatch.setenv("HOME", "/home/anna")
    config = read_config(
        write(
            LEAST
            + "metadata = 's3://lab/ages.csv'\n[path]\ndataset = '~/data'\noutputs = 's3://lab/out/'\nscripts = '/s'\n"
        )
    )
    assert config.dataset == "/home/anna/data"
    assert config.scripts == "/s"
    assert config.outputs == "s3://lab/out"
    assert config.log == "s3://lab/out/LOG"
    assert [one.path for one in config.metadata] == ["s3://lab/ages.csv"]
    assert config.locate("x") == f"{config.root}/x"


def test_a_parent_folder_behind_a_link_is_the_one_the_system_sees(write, tmp_path):
    write(LEAST + "[path]\ndataset = '../data'\n", "real/inner/workspace.toml")
    (tmp_path / "link").symlink_to(tmp_path / "real" / "inner")
    assert read_config(tmp_path / "link").dataset == str(tmp_path / "real" / "data")


def test_arguments_win_and_are_relative_to_the_current_folder(write, tmp_path, monkeypatch):
    (tmp_path / "now").mkdir()
    file = write(LEAST + "[path]\ndataset = 'a'\nscripts = 'b'\n")
    monkeypatch.chdir(tmp_path / "now")
    config = read_config(file, data_path="./d", scripts_path=tmp_path / "s")
    assert config.dataset == str(tmp_path / "now" / "d")
    assert config.scripts == str(tmp_path / "s")


def test_several_files_are_merged_deeply_and_paths_stay_with_their_file(write, tmp_path):
    base = write(
        LEAST + "[path]\ndataset = 'd'\n[modalities.EEG]\nscripts = ['a']\n[tasks.RS]\nmodalities = ['EEG']\n"
    )
    over = write(
        "[path]\noutputs = 'o'\n[modalities.EEG]\ntask_scripts.RS = ['b']\n[run]\nretries = 2\n",
        "more/site.toml",
    )
    config = read_config([base, over])
    assert config.files == (str(base), str(over))
    assert (config.dataset, config.outputs) == (str(tmp_path / "d"), str(tmp_path / "more" / "o"))
    assert config.modalities["EEG"].steps("RS") == ("a", "b")
    assert config.run.retries == 2


def test_a_fault_names_the_file_that_holds_it(write):
    base = write(LEAST)
    over = write("[run]\nmode = 'x'\n", "site.toml")
    with pytest.raises(ConfigError, match=r"^site\.toml: run\.mode: 'x' is not one of"):
        read_config([base, over])


def test_a_config_in_a_bucket_is_read_through_the_given_reader():
    texts = {"s3://lab/ws/workspace.toml": LEAST + "[path]\nscripts = '../scripts'\n"}

    def read_text(url):
        if url not in texts:
            raise FileNotFoundError(url)
        return texts[url]

    config = read_config("s3://lab/ws", read_text=read_text)
    assert (config.root, config.dataset) == ("s3://lab/ws", "s3://lab/ws/dataset")
    assert (config.scripts, config.log) == ("s3://lab/scripts", "s3://lab/ws/dataset/LOG")
    with pytest.raises(ConfigError, match=r"^there is no file s3://lab/none/workspace\.toml$"):
        read_config("s3://lab/none", read_text=read_text)


def test_sizes_have_units(write):
    for written, found in (
        ("'2 GB'", 2 * 10**9),
        ("'512MiB'", 512 * 2**20),
        ("1000", 1000),
        ("'1.5k'", 1500),
    ):
        assert read_config(write(f"{LEAST}[run]\nmemory_limit = {written}\n")).run.memory_limit == found


def test_dask_is_accepted_with_one_notice(write):
    config = read_config(
        write(LEAST + "[run]\nmode = 'dask'\n[dask.cluster]\nn_workers = 2\n[dask.scheduler]\ntype = 'x'\n")
    )
    assert config.run.mode == "processes"
    (notice,) = config.notices
    assert "run.mode = 'dask' and [dask]" in notice
    assert "run.mode = 'processes'" in notice


def test_a_scope_named_like_ours_is_noticed(write):
    text = LEAST + "[tasks.first]\nmodalities = ['EEG']\n[modalities.EEG]\n"
    assert read_config(write(text)).notices == []
    (notice,) = read_config(write(text), reserved={"first"}).notices
    assert notice == "tasks.first: 'first' is a name of ours: reach it by ws['first'] or get_subscope"


def test_a_config_is_frozen_and_two_never_share(write):
    config, other = read_config(write(LEAST)), read_config(write(LEAST))
    with pytest.raises(Exception, match=r"frozen|cannot assign"):
        config.run.mode = "main_process"
    with pytest.raises(Exception, match=r"frozen|cannot assign"):
        config.dataset = "x"
    assert config.tasks is not other.tasks


# -- storage options --------------------------------------------------------------------------------------

STORAGE = """
[storage]
anon = false
client_kwargs = { endpoint_url = "http://x", region = ["${REGION}"] }
[storage.s3]
key = "${SINAGOT_TEST_KEY}"
secret = "a-literal-secret"
[storage.gs]
token = "other"
"""


def test_storage_options_are_per_protocol_and_expanded_late(write, monkeypatch):
    config = read_config(write(LEAST + STORAGE))
    with pytest.raises(
        ConfigError, match=r"^storage\.client_kwargs\.region\[0\]: the environment variable REGION is not set"
    ):
        config.storage_options("s3")
    monkeypatch.setenv("REGION", "eu")
    monkeypatch.setenv("SINAGOT_TEST_KEY", "k")
    common = {"anon": False, "client_kwargs": {"endpoint_url": "http://x", "region": ["eu"]}}
    assert config.storage_options("s3") == {**common, "key": "k", "secret": "a-literal-secret"}
    assert config.storage_options("s3a") == config.storage_options("s3")
    assert config.storage_options("gcs") == {**common, "token": "other"}
    config = read_config(write(LEAST + STORAGE + "[storage.s3a]\nkey = 'of another account'\n"))
    assert config.storage_options("s3a")["key"] == "of another account"
    assert config.storage_options("s3")["key"] == "k"


def test_no_option_is_shown_or_pickled(write):
    config = read_config(write(LEAST + STORAGE))
    assert "a-literal-secret" not in repr(config) + str(config.storage)
    assert "storage=<Storage anon" in repr(config)
    data = pickle.dumps(config)
    assert b"a-literal-secret" not in data
    assert pickle.loads(data) == config  # noqa: S301  # our own bytes
    with pytest.raises(TypeError, match="never pickled"):
        pickle.dumps(config.storage)


def test_a_fault_near_a_secret_does_not_show_it(faults):
    assert faults("", least=f"storage = 'a-secret'\n{LEAST}") == [
        "workspace.toml: storage: the value is not a section"
    ]


# -- faults -----------------------------------------------------------------------------------------------


# fmt: off
# ruff: noqa: E501  # one fault and its sentence a line
FAULTS = [
    (
        "[run]\nmode = 'main_proces'",
        "run.mode: 'main_proces' is not one of 'processes', 'main_process', 'prefect'; did you mean 'main_process'?",
    ),
    ("[recods]\na = 1", "recods: unknown section; did you mean 'records'?"),
    ("[run]\nworker = 1", "run.worker: unknown key; did you mean 'workers'?"),
    ("[path]\nid_pattern = 'x'", "path.id_pattern: unknown key; did you mean 'records.id_pattern'?"),
    (
        "[info]\nzzz = 1",
        "info.zzz: unknown key; known here: version",
    ),
    ("[run]\nworkers = 0", "run.workers: 0 is less than 1"),
    ("[run]\nworkers = '3'", "run.workers: '3' is not a whole number"),
    ("[run]\nworkers = true", "run.workers: True is not a whole number"),
    ("[run]\nworkers = 1.5", "run.workers: 1.5 is not a whole number"),
    ("[run]\ntimeout = 0", "run.timeout: 0 is not greater than 0"),
    ("[run]\ntimeout = nan", "run.timeout: nan is not greater than 0"),
    ("[run]\ndurable = 1", "run.durable: 1 is neither true nor false"),
    ("[run]\nrerun_on = ['inputs']", "run.rerun_on[0]: 'inputs' is not one of 'input', 'version', 'params', 'code'; did you mean 'input'?"),
    ("[run]\nmemory_limit = '2 apples'", "run.memory_limit: '2 apples' is not a size: write a number of bytes, or such as '2 GB' or '512 MiB'"),
    ("[steps]\nscripts = 'count'", "steps.scripts: 'count' is not a list; write ['count']"),
    ("[steps]\nscripts = ['a', 1]", "steps.scripts[1]: 1 is not a text"),
    ("[steps]\nscripts = ['a', 'a']", "steps.scripts[1]: 'a' stands twice in the list"),
    ("[steps]\nscripts = ['../a']", "steps.scripts[0]: '../a' cannot name a step: it must be a plain file name"),
    ("[steps]\nscripts = ['a.py']", "steps.scripts[0]: 'a.py' is a file name; write the step's name 'a'"),
    ("[log]\nlevel = 'LOUD'", "log.level: 'LOUD' is not one of 'DEBUG', 'INFO', 'WARNING', 'ERROR', 'CRITICAL'"),
    ("[log]\nformat = '%(asctime'", "log.format: '%(asctime' is not a format of Python's logging such as '%(asctime)s : %(message)s'"),
    ("[tasks.RS]\nmodalities = ['EGE']\n[modalities.EEG]",
        "tasks.RS.modalities[0]: 'EGE' is not a modality of this config; did you mean 'EEG'?"),
    ("[tasks.RS]\n", "tasks.RS.modalities: missing; write the list of the task's modalities"),
    ("[tasks.'a/b']\nmodalities = ['EEG']\n[modalities.EEG]",
        "tasks.'a/b': 'a/b' cannot name a task: it must be a plain file name"),
    ("[modalities.EEG]\ntask_scripts.RX = ['a']\n[tasks.RS]\nmodalities = ['EEG']",
        "modalities.EEG.task_scripts.RX: 'RX' is not a task of this config; known here: 'RS'"),
    ("[modalities.EEG]\nscripts = ['a']\ntask_scripts.RS = ['a']\n[tasks.RS]\nmodalities = ['EEG']",
        "modalities.EEG.task_scripts.RS[0]: 'a' stands in modalities.EEG.scripts too"),
    ("[modalities]\nEEG = 3", "modalities.EEG: 3 is not a section"),
    ("[modalities.EEG]\nmodels.plugin = 'panda'",
        "modalities.EEG.models.plugin: 'panda' is not one of 'pandas', 'table', 'processed'; did you mean 'pandas'?"),
    ("[modalities.EEG]\nmodels.data_path = 3",
        "modalities.EEG.models.data_path: 3 is not a path pattern: write a text or a list of texts"),
    ("[steps]\nscripts = ['count']\n[processed.x]\nstep_label = 'cont'",
        "processed.x.step_label: 'cont' is not a step of its scope; did you mean 'count'?"),
    ("[prefect]\ntask_runner = 'das'",
        "prefect.task_runner: 'das' is not one of 'threads', 'dask', 'ray'; did you mean 'dask'?"),
    ("[prefect]\nreport_url = 'report.html'",
        "prefect.report_url: 'report.html' is not a web address: write one that begins with https:// or http://"),
    ("[prefect]\naddress = 'tcp://head:8786'",
        "prefect.address: has no effect without prefect.task_runner = 'dask' or 'ray'"),
]
# fmt: on


@pytest.mark.parametrize(("text", "sentence"), FAULTS)
def test_a_fault_is_told_with_address_value_and_what_is_near(faults, text, sentence):
    assert faults(text) == [f"workspace.toml: {sentence}"]


@pytest.mark.parametrize(
    ("text", "placeholder", "groups"),
    [
        ("sub-{sub}_{run}", "{sub}", "sub-(?P<sub>[A-Za-z0-9]+)_(?P<run>[A-Za-z0-9]+)"),
        (r"{sub:\d{3}}_{run?}", r"{sub:\d{3}}", r"(?P<sub>\d{3})_(?P<run>[A-Za-z0-9]+)"),
    ],
)
def test_a_placeholder_in_the_id_pattern_is_told_with_the_group_to_write(faults, text, placeholder, groups):
    (told,) = faults("", least=f"[records]\nid_pattern = '{text}'\n")
    assert told.startswith(f"workspace.toml: records.id_pattern: {placeholder} is plain text in a regular")
    assert f"'{groups}'" in told


def test_braces_that_repeat_or_are_escaped_are_no_placeholder(write):
    assert read_config(write("[records]\nid_pattern = 'R\\{x\\}-\\d{2}[a-z]{1,3}'\n")).ids.values("R{x}-12ab")


def test_a_missing_or_bad_id_pattern_is_told(faults):
    (missing,) = faults("[run]\n", least="")
    assert missing.startswith("workspace.toml: records.id_pattern: missing;")
    (bad,) = faults("", least="[records]\nid_pattern = 'REC-('\n")
    assert bad.startswith(
        "workspace.toml: records.id_pattern: 'REC-(' is not a regular expression: missing )"
    )


def test_all_faults_are_told_in_one_go(faults):
    lines = faults(
        """
        [recods]
        [run]
        mode = "x"
        workers = "many"
        [steps]
        scripts = ["a", "a"]
        [tasks.RS]
        modalities = ["none"]
        """,
        least="",
    )
    addresses = [line.split(": ")[1] for line in lines]
    assert set(addresses) == {
        "recods", "run.mode", "run.workers", "steps.scripts[1]", "tasks.RS.modalities[0]", "records.id_pattern",
    }  # fmt: skip


def test_a_faulty_section_draws_no_further_faults(faults):
    assert faults("[tasks.RS]\nmodalities = ['EEG']\n[modalities]\nEEG = 3\n") == [
        "workspace.toml: modalities.EEG: 3 is not a section"
    ]


def test_bad_toml_is_told_with_its_line(faults):
    (line,) = faults("[run\n")
    assert line.startswith("workspace.toml: ")
    assert "line 3" in line


def test_what_cannot_be_found_is_named(write, tmp_path):
    with pytest.raises(ConfigError, match=r"^the folder \S+ holds no workspace\.toml$"):
        read_config(tmp_path)
    write(LEAST, "lab.toml")
    with pytest.raises(ConfigError, match=r"It holds lab\.toml: give the file itself\."):
        read_config(tmp_path)
    with pytest.raises(
        ConfigError, match=r"^there is no file or folder \S+/lab\.tom; did you mean 'lab\.toml'\?$"
    ):
        read_config(tmp_path / "lab.tom")
    with pytest.raises(ConfigError, match="no config file is given"):
        read_config([])
    (tmp_path / "bad.toml").write_bytes(b"x = '\xff'")
    with pytest.raises(ConfigError, match=r"bad\.toml is not UTF-8 \(byte 5\)$"):
        read_config(tmp_path / "bad.toml")


@pytest.mark.parametrize("given", [3, None, ["a.toml", 3]])
def test_what_is_no_path_is_refused_with_what_to_give(given):
    with pytest.raises(
        ConfigError, match=r"opened by the path of its folder or workspace\.toml, not by a (int|NoneType)"
    ):
        read_config(given)


def test_a_workspace_is_not_opened_by_a_workspace(make_workspace):
    with pytest.raises(ConfigError, match="not by a Workspace"):
        read_config(make_workspace({}, []))


def test_reading_a_config_loads_neither_frames_nor_prefect(write):
    code = (
        "import sys; from sinagot_catalog.config import read_config; read_config(sys.argv[1]); "
        "print(sorted({'polars', 'pyarrow', 'prefect', 'fsspec', 'rich'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, write(LEAST)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


# -- steps that are programs -----------------------------------------------------------------------------


def test_a_table_in_steps_is_a_step_that_is_a_program(write):
    config = read_config(
        write(
            LEAST
            + """
        [steps]
        scripts = ["clean", "mean"]
        [steps.clean]
        command = "Rscript clean.R {input.raw} {output} --by={id}"
        inputs = {raw = ["raw", "{id}.csv"]}
        outputs = "clean/{id}.csv"
        control = ["qc", "{id}.png"]
        version = 2
        retries = 1
        timeout = 60
        """
        )
    )
    clean = config.steps.commands["clean"]
    assert config.steps.scripts == ("clean", "mean")
    assert clean.inputs == {"raw": ("raw", "{id}.csv")}
    assert (clean.outputs, clean.control) == ("clean/{id}.csv", ("qc", "{id}.png"))
    assert (clean.version, clean.retries, clean.timeout) == ("2", 1, 60.0)
    assert config.notices == []
    assert pickle.loads(pickle.dumps(config)) == config  # noqa: S301


def test_a_program_that_no_list_names_is_a_notice(write):
    text = "[steps]\nscripts = ['clean']\n[steps.claen]\ncommand = 'true'\n"
    notice = "steps.claen is not run: no list of scripts names it; did you mean 'clean'?"
    assert read_config(write(LEAST + text)).notices == [notice]
    text = "[tasks.RS]\nmodalities = ['EEG']\n[modalities.EEG]\ntask_scripts.RS = ['a']\n[steps.a]\ncommand = 'true'\n"
    assert read_config(write(LEAST + text)).notices == []


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ("comand = 'x'", "comand: unknown key; did you mean 'command'?"),
        ("inputs = 'raw/{id}'", "command: missing; write the program and its arguments, such as"),
        ("command = ['cp']", "command: ['cp'] is not a text"),
        ('command = "cp \'a"', 'command: "cp \'a" cannot be split into arguments: no closing quotation'),
        ("command = '{input} x'\ninputs = 'a/{id}'", "command: '{input}' cannot be the program"),
        (
            "command = 'cp {inptu}'\ninputs = 'a/{id}'",
            "command: unknown placeholder {inptu}; did you mean 'input'?",
        ),
        ("command = 'cp {input}'\ninputs.raw = 'a/{id}'", "did you mean 'input.raw'?"),
        (
            "command = 'cp {output.a}'\noutputs = 'a/{id}'",
            "unknown placeholder {output.a}; did you mean 'output'?",
        ),
        ("command = 'cp {task}'", "command: unknown placeholder {task}; known here: id"),
        ("command = 'cp'\ninputs = 3", "inputs: 3 is not a path pattern"),
        (
            "command = 'cp'\ninputs = {a = {path = 'x/{id}', optional = 'yes'}}",
            "has a table 'a' that is no input",
        ),
        (
            "command = 'cp'\noutputs = {a = {path = 'x/{id}'}}",
            "outputs: {'a': {'path': 'x/{id}'}} is not a path pattern: write a text or a list of texts",
        ),
        (
            "command = 'cp'\noutputs = 'a/{idd}'",
            "outputs: unknown placeholder {idd} in 'a/{idd}'; did you mean 'id'?",
        ),
        ("command = 'cp'\noutputs = '../{id}'", "outputs: '../{id}' leaves the dataset"),
        ("command = 'cp'\nretries = -1", "retries: -1 is less than 0"),
        ("command = 'cp'\ntimeout = 0", "timeout: 0 is not greater than 0"),
    ],
)
def test_a_fault_of_a_program_is_told_with_its_address(faults, body, fault):
    line = faults(f"[steps]\nscripts = ['clean']\n[steps.clean]\n{body}")[0]
    assert line.startswith("workspace.toml: steps.clean.")
    assert fault in line


def test_other_keys_of_steps_are_still_unknown(faults):
    assert faults("[steps]\nscript = ['a']") == [
        "workspace.toml: steps.script: unknown key; did you mean 'scripts'?"
    ]
