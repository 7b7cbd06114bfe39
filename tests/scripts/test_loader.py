"""A script's source is read, never run; a script's file becomes its class and leaves nothing behind."""

import ast
import gc
import os
import pickle
import sys
import textwrap

import pytest

from sinagot_catalog.errors import NotFoundError
from sinagot_catalog.scripts import ScriptHost, read_script, subprocess_reader

HEAD = "from sinagot_catalog import ScriptTemplate\n"
ALONE = "class ScriptTemplate: pass\n"


@pytest.fixture
def scripts(tmp_path):
    folder = tmp_path / "scripts"
    folder.mkdir()
    return folder


@pytest.fixture
def write(scripts):
    def write(name, text):
        path = scripts / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
        return str(path)

    return write


@pytest.fixture(autouse=True)
def unchanged_interpreter():
    """No test may leave anything in the import system but the scripts' own modules."""
    paths, finders, modules = list(sys.path), list(sys.meta_path), set(sys.modules)
    yield
    assert sys.path == paths
    assert sys.meta_path == finders
    left = {name for name in set(sys.modules) - modules if name.startswith(("helper", "common_"))}
    assert not left
    for name in [name for name in sys.modules if name.startswith("sinagot_catalog.scripts.user_modules.")]:
        del sys.modules[name]


def read(write, body, head=HEAD, **options):
    return read_script(write("step.py", head + textwrap.dedent(body)), name="scripts/step.py", **options)


# -- reading --------------------------------------------------------------------------------


def test_literals_constants_sums_and_f_strings_are_read(write):
    source = read(
        write,
        """
        import os
        from os.path import join
        from pathlib import Path
        RAW, EXT = "raw", ".csv"
        PARTS = ["a"] + ["b"]

        class Base(ScriptTemplate):
            FOLDER = "out"
            PATH_IN = (RAW, f"{{id}}-raw{EXT}")

        class Script(Base):
            PATH_OUT = {
                "plain": (Base.FOLDER,) + ("{id}" + EXT,),
                "joined": os.path.join("x", "{id}.csv"),
                "short": join("x", *PARTS),
                "path": Path("p") / "q" / "{id}.csv",
                "list": [*PARTS, "{id}"],
            }
            PATH_CONTROL = PATH_OUT["plain"] + ("z",)
            VERSION: str = 3
            RETRIES = 1 + 1
            TIMEOUT = 60 * 2
        """,
    )
    assert source.error is None
    assert source.path_in == ("raw", "{id}-raw.csv")
    assert source.path_out == {
        "plain": ("out", "{id}.csv"),
        "joined": "x/{id}.csv",
        "short": "x/a/b",
        "path": "p/q/{id}.csv",
        "list": ("a", "b", "{id}"),
    }
    assert source.path_control == ("out", "{id}.csv", "z")
    assert (source.version, source.retries, source.timeout) == ("3", 2, 120.0)
    assert source.computed == ()
    assert source.name == "scripts/step.py"
    assert (source.lines["PATH_IN"], source.lines["PATH_OUT"], source.line) == (11, 14, 13)


def test_reading_runs_nothing(write, tmp_path):
    trap = tmp_path / "trap"
    source = read(
        write,
        f"""
        open({str(trap)!r}, "w")
        import a_library_that_is_not_installed
        class Script(ScriptTemplate):
            PATH_IN = "raw/{{id}}"
            PATH_OUT = "out/{{id}}"
        """,
    )
    assert source.error is None
    assert not trap.exists()


def test_what_needs_running_is_named_with_its_line_where_the_workspace_is_not_trusted(write):
    source = read(
        write,
        """
        def path():
            return "out/{id}"
        class Script(ScriptTemplate):
            PATH_IN = "raw/{id}"
            PATH_OUT = path()
        """,
    )
    assert source.error == (
        "scripts/step.py:7: PATH_OUT is computed; patterns of a workspace that is not trusted are read, "
        "not run: write it as a literal or open the workspace with trust=True"
    )
    assert source.line == 7


@pytest.mark.parametrize(
    "body",
    [
        "X = 'a'\nif X:\n    X = 'b'",
        "X = 'a'\nfor X in 'ab': pass",
        "X = 'a'\nfrom elsewhere import *",
        "X = 'a'\ndef f():\n    global X\n    X = 'b'\nf()",
        "X = 'a'\ntry:\n    import X\nexcept ImportError as X: pass",
        "X = 'a'\nprint(X := 'b')",
        "X = ['a']\nX.append('b')",
        "Y = X = ['a']\nY.append('b')",
        "X = {'a': 'b'}\nX['a'] = 'c'",
        "X = ['a']\nX += ['b'] * 2",
        "X = 'a'\ndel X",
        "X = '{}'.format('a')",
        "X = '%s' % 'a'",
        "X = f'{1:>10}'",
        "X = open('x').read()",
        "from elsewhere import X",
    ],
)
def test_a_name_whose_value_is_not_sure_is_computed(write, body):
    source = read_script(write("step.py", f"{HEAD}{body}\nclass Script(ScriptTemplate):\n    PATH_IN = X\n"))
    assert "PATH_IN is computed" in (source.error or "")


def test_the_last_assignment_counts(write):
    source = read(
        write,
        """
        X = "a"
        X += "/{id}"
        class Script(ScriptTemplate):
            PATH_IN = "z"
            PATH_IN = X
        Script.PATH_OUT = ("b", "{id}")
        X = "c"
        """,
    )
    assert (source.path_in, source.path_out) == ("a/{id}", ("b", "{id}"))


def test_an_alias_of_a_class_is_followed(write):
    source = read(write, "class Mean(ScriptTemplate):\n    PATH_IN = 'a/{id}'\nScript = Mean\n")
    assert source.path_in == "a/{id}"


def test_computed_settings_do_not_hinder_a_look(write):
    source = read(
        write,
        """
        import numpy
        class Script(ScriptTemplate):
            PATH_IN = "a/{id}"
            VERSION = numpy.__version__
        """,
    )
    assert source.error is None
    assert source.computed == ("VERSION",)


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("class Script(:", "scripts/step.py:2: SyntaxError: invalid syntax: class Script(:"),
        ("x = 1", "scripts/step.py:1: no class Script: a script defines class Script(ScriptTemplate)"),
        (
            "class Scrip(ScriptTemplate): pass",
            "scripts/step.py:2: no class Script: the file has Scrip; a step's class is called Script",
        ),
        ("class Script(ScriptTemplate):\n    PATH_IN = 3", "scripts/step.py:3: PATH_IN is of type int"),
        (
            "class Script(ScriptTemplate):\n    PATH_IN = ('a', 3)",
            "scripts/step.py:3: PATH_IN has a part of type int",
        ),
        (
            "class Script(ScriptTemplate):\n    PATH_IN = {1: 'a'}",
            "scripts/step.py:3: PATH_IN is a dict whose labels",
        ),
        (
            "class Script(ScriptTemplate):\n    RETRIES = -1",
            "scripts/step.py:3: RETRIES is not a whole number",
        ),
        (
            "class Script(ScriptTemplate):\n    TIMEOUT = 0",
            "scripts/step.py:3: TIMEOUT is not a number of seconds",
        ),
        ("class Script(ScriptTemplate):\n    VERSION = ()", "scripts/step.py:3: VERSION is of type tuple"),
    ],
)
def test_a_fault_is_told_with_file_and_line(write, body, sentence):
    source = read(write, body)
    assert source.error.startswith(sentence)


def test_a_missing_file_is_told_by_its_name(scripts):
    source = read_script(str(scripts / "mean.py"), name="scripts/mean.py")
    assert source.error == "script file scripts/mean.py is missing"


@pytest.mark.parametrize(
    "content", [b"x = '\xff'", b"# coding: nonsense\n", b"\x00", b"(" * 5000, b"-" * 90_000]
)
def test_a_file_that_is_no_python_is_told(scripts, content):
    (scripts / "step.py").write_bytes(content)
    source = read_script(str(scripts / "step.py"), name="step.py")
    assert source.error.startswith("step.py:")
    assert "\n" not in source.error


@pytest.mark.timeout(100)
@pytest.mark.parametrize(
    "body",
    [
        "X = 'aaaaaaaaaa'\n" + "X = X + X\n" * 80,
        "X = ('a', 'b')\n" + "X = (*X, *X)\n" * 80,
        "X = ('a',)\n" + "X = (X, X)\n" * 80,
        "X = 10\n" + "X = X * X\n" * 80,
        "X = 'a' * 100\nX = f'" + "{X}" * 5000 + "'",
    ],
)
def test_a_hostile_source_costs_little(write, body):
    source = read_script(write("step.py", f"{HEAD}{body}\nclass Script(ScriptTemplate):\n    PATH_IN = X\n"))
    assert "computed" in source.error


def test_what_is_parsed_during_garbage_collection_does_not_disturb_the_reading(write):
    def parse_in_between(_phase, _info):
        ast.parse("x = 1")

    names = "NAMES = [('a', ('b', {'c': 'd'}))]\n" * 1000
    script = write(
        "step.py", f"{HEAD}{names}class Script(ScriptTemplate):\n    PATH_IN = 'raw'\n    PATH_OUT = 'out'\n"
    )
    thresholds = gc.get_threshold()
    gc.callbacks.append(parse_in_between)
    try:
        gc.set_threshold(50)
        source = read_script(script, name="step.py")
    finally:
        gc.set_threshold(*thresholds)
        gc.callbacks.remove(parse_in_between)
    assert source.error is None


# -- what is computed -------------------------------------------------------------------------

COMPUTED = ALONE + textwrap.dedent("""
    import sys
    from pathlib import Path
    from helper import FOLDER
    print("noise")
    class Script(ScriptTemplate):
        PATH_IN = ("raw", "{id}.csv")
        PATH_OUT = {"a": (FOLDER, "{id}.csv"), "b": [Path(FOLDER) / "x", "{id}"]}
        VERSION = ".".join(["1", "2"])
""")


def test_a_trusted_script_is_evaluated_in_a_child_once_per_content(write, monkeypatch):
    write("helper.py", "FOLDER = 'out'")
    script = write("step.py", COMPUTED)
    cache = {}
    source = read_script(script, distrust=lambda: None, cache=cache)
    assert source.error is None
    assert source.path_out == {"a": ("out", "{id}.csv"), "b": ("out/x", "{id}")}
    assert source.version == "1.2"
    assert source.computed == ("PATH_OUT", "VERSION")

    monkeypatch.setattr(subprocess_reader, "TIME_LIMIT", 0.0)  # another child would end at once
    assert read_script(script, distrust=lambda: None, cache=cache) == source
    monkeypatch.undo()

    write("helper.py", "FOLDER = 'elsewhere'")
    again = read_script(script, distrust=lambda: None, cache=cache)
    assert again.path_out["a"] == ("elsewhere", "{id}.csv")


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("import nothing_of_the_kind", "ModuleNotFoundError: No module named 'nothing_of_the_kind'"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("import os; os._exit(7)", "the script ended its process when loaded (exit code 7)"),
        ("import time; time.sleep(60)", "the script did not load within 1 seconds"),
        ("class Script: PATH_IN = object()", "object is not a path pattern"),
    ],
)
def test_a_trusted_script_that_cannot_be_evaluated_says_why(write, monkeypatch, body, sentence):
    if "sleep" in body:
        monkeypatch.setattr(subprocess_reader, "TIME_LIMIT", 1.0)
    script = write(
        "step.py",
        f"{ALONE}{body}\nclass Base: PATH_IN = ''.join('ab')\nScript = globals().get('Script', Base)",
    )
    source = read_script(script, name="step.py", distrust=lambda: None)
    assert sentence in source.error
    assert source.error.startswith("step.py:")


# -- loading --------------------------------------------------------------------------------


def test_a_script_is_loaded_once_and_anew_after_a_change(write, scripts):
    host = ScriptHost(str(scripts))
    script = write("step.py", "class Script:\n    X = 1\n")
    first = host.load(script)
    assert host.load(script) is first
    write("step.py", "class Script:\n    X = 2\n")
    os.utime(script, ns=(1, 1))
    assert host.load(script).X == 2
    assert not (scripts / "__pycache__").exists()


def test_a_changed_helper_is_picked_up(write, scripts):
    host = ScriptHost(str(scripts))
    write("helper.py", "X = 1")
    script = write("step.py", "from helper import X\nclass Script:\n    X = X\n")
    assert host.load(script).X == 1
    os.utime(write("helper.py", "X = 2"), ns=(1, 1))
    assert host.load(script).X == 2


def test_a_class_pickles_by_reference(write, scripts):
    found = ScriptHost(str(scripts)).load(write("step.py", "class Script:\n    pass\n"))
    assert pickle.loads(pickle.dumps(found)) is found  # noqa: S301  # our own bytes


def test_helpers_of_the_same_name_in_two_folders_never_mix(write, scripts):
    host = ScriptHost(str(scripts))
    write("common_root.py", "WHERE = 'root'")
    body = """
        import helper, common_root
        class Script:
            early = helper.X
            def run(self):
                import helper
                from helper_package.inner import X
                import helper_late
                helper.COUNT.append(1)
                return helper.X, len(helper.COUNT), X, helper_late.X, common_root.WHERE
    """
    loaded = {}
    for folder in ("EEG", "MEG"):
        write(f"{folder}/helper.py", f"X = {folder!r}\nCOUNT = []")
        write(f"{folder}/helper_late.py", f"X = 'late {folder}'")
        write(f"{folder}/helper_package/__init__.py", "")
        write(f"{folder}/helper_package/inner.py", f"X = 'inner {folder}'")
        script = write(f"{folder}/step.py", body)
        loaded[script] = host.load(script)
    for turn in (1, 2):
        for script, found in loaded.items():
            folder = script.split("/")[-2]
            with host.importing(script):
                assert found().run() == (folder, turn, f"inner {folder}", f"late {folder}", "root")
            assert found.early == folder


def test_a_module_of_the_caller_gives_way_while_a_script_is_at_work(write, scripts, monkeypatch):
    theirs = type(sys)("helper")
    monkeypatch.setitem(sys.modules, "helper", theirs)
    write("helper.py", "X = 1")
    found = ScriptHost(str(scripts)).load(
        write("step.py", "import helper\nclass Script:\n    X = helper.X\n")
    )
    assert found.X == 1
    assert sys.modules["helper"] is theirs
    monkeypatch.delitem(sys.modules, "helper")


def test_steps_named_like_libraries_do_not_hide_them(write, scripts):
    body = "import statistics, tomli\nclass Script:\n    files = statistics.__file__, tomli.__file__\n"
    write("statistics.py", body)
    (scripts / "pydantic").mkdir()
    script = write("tomli.py", body + "import pydantic\npydantic.BaseModel\n")
    found = ScriptHost(str(scripts)).load(script)
    assert not any(file.startswith(str(scripts)) for file in found.files)


def test_a_script_may_import_another_steps_script(write, scripts):
    write("helper_step.py", "class Script:\n    X = 1\n")
    found = ScriptHost(str(scripts)).load(
        write("step.py", "from helper_step import Script as Base\nclass Script(Base): pass\n")
    )
    assert found.X == 1


def test_an_error_of_the_script_comes_out_and_leaves_nothing(write, scripts):
    host = ScriptHost(str(scripts))
    write("helper.py", "X = 1")
    script = write("step.py", "import helper\nraise KeyError('mine')\n")
    with pytest.raises(KeyError, match="mine"):
        host.load(script)
    assert not [
        name
        for name in sys.modules
        if name.startswith("sinagot_catalog.scripts.user_modules.") and name.endswith(".step")
    ]
    write("step.py", "class Script: pass")
    assert host.load(script).__name__ == "Script"


def test_a_script_without_its_class_or_file_is_named(write, scripts):
    host = ScriptHost(str(scripts))
    with pytest.raises(NotFoundError, match=r"step\.py has no class Script; did you mean 'Scrip'"):
        host.load(write("step.py", "class Scrip: pass"))
    with pytest.raises(NotFoundError, match=r"gone\.py is missing"):
        host.load(str(scripts / "gone.py"))


def test_an_error_in_a_run_still_restores_the_modules(write, scripts):
    host = ScriptHost(str(scripts))
    write("helper.py", "X = 1")
    script = write(
        "step.py",
        "class Script:\n    def run(self):\n        import helper\n        raise ValueError(helper.X)\n",
    )
    found = host.load(script)
    with pytest.raises(ValueError, match="1"), host.importing(script):
        found().run()
    assert "helper" not in sys.modules
