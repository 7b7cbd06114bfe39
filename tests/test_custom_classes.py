"""Classes that a modality brings for its records, per workspace."""

import copy
import pickle

import pytest

from sinagot_catalog import Workspace, models
from sinagot_catalog.errors import NotFoundError, SelectionError, UsageError

RECORD = """
from sinagot_catalog import models

class Record(models.Record):
    shown = "{shown}"

    def shout(self):
        return f"{{self.id}}!"

    @property
    def broken(self):
        return self.clean.nothing

    @property
    def lost(self):
        return {{}}.no_such_method()
"""
FIRST = RECORD.format(shown="first")
COLLECTION = """
from sinagot_catalog.models import RecordCollection as Base

class RecordCollection(Base):
    def shouts(self):
        return [one.shout() for one in self.all()]
"""


def bring(folder, modality="EEG", record=FIRST, collection=COLLECTION):
    models_folder = folder / "scripts" / modality / "models"
    models_folder.mkdir(parents=True, exist_ok=True)
    if record:
        (models_folder / "record.py").write_text(record)
    if collection:
        (models_folder / "record_collection.py").write_text(collection)
    return folder


@pytest.fixture
def custom(lab_folder):
    return Workspace(bring(lab_folder()))


def test_record_of_the_modality_has_the_class_that_it_brings(custom):
    for record in (
        custom.EEG.get("R1"),
        custom.RS.EEG.get("R1"),
        custom.records.get("R1").EEG,
        custom.EEG.first(),
    ):
        assert record.shout() == "R1!"
        assert isinstance(record, models.Record)
        assert type(record).__name__ == "EEGRecord"


def test_collection_of_the_modality_has_the_class_that_it_brings(custom):
    assert custom.EEG.shouts() == ["R1!", "R2!"]
    assert custom.HDC.EEG.shouts() == ["R1!"]
    assert type(custom.EEG).__name__ == "EEGRecordCollection"
    assert isinstance(custom.EEG, models.RecordCollection)


def test_every_way_through_a_selection_keeps_the_class(custom):
    kept = [
        custom.EEG.filter(record_id="R1"),
        custom.EEG.sql_filter("record_id = 'R1'"),
        custom.EEG.steps.filter(record_id="R1").records,
        custom.EEG.units.filter(record_id="R1").records,
        custom.EEG.filter(record_id="R1").HDC,
        custom.records.filter(record_id="R1").EEG,
        next(custom.EEG.filter(record_id="R1").iter_units()),
    ]
    assert [one.shouts() for one in kept] == [["R1!"]] * len(kept)
    assert [type(one).__name__ for one in custom.records.get("R1").EEG.iter_units()] == ["EEGRecord"] * 2


def test_other_modalities_and_wider_scopes_have_ours(custom):
    assert type(custom.behavior) is type(custom.RS) is type(custom.records) is models.RecordCollection
    assert type(custom.records.get("R1")) is type(custom.behavior.get("R1")) is models.Record
    assert not hasattr(models.Record, "shout")


def test_classes_belong_to_their_workspace_alone(lab_folder, lab):
    one = Workspace(bring(lab_folder(name="one"), record=RECORD.format(shown="one"), collection=None))
    two = Workspace(bring(lab_folder(name="two"), record=RECORD.format(shown="two"), collection=None))
    assert (one.EEG.get("R1").shown, two.EEG.get("R1").shown) == ("one", "two")
    assert type(one.EEG.get("R1")) is not type(two.EEG.get("R1"))
    assert type(lab.EEG.get("R1")) is models.Record
    assert type(one.EEG) is models.RecordCollection


def test_class_may_have_another_name(lab_folder):
    folder = lab_folder()
    toml = (folder / "workspace.toml").read_text()
    (folder / "workspace.toml").write_text(
        toml.replace('scripts = ["clean"]', 'scripts = ["clean"]\nmodels.record = "Session"')
    )
    bring(folder, record=RECORD.format(shown="x").replace("class Record(", "class Session("), collection=None)
    assert Workspace(folder).EEG.get("R1").shout() == "R1!"


def test_class_that_is_not_in_its_file_is_an_error_that_names_it(lab_folder):
    ws = Workspace(bring(lab_folder(), record="class Recrod: pass\n"))
    with pytest.raises(NotFoundError, match=r"record.py.*Record"):
        ws.EEG.get("R1")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("class Record(", "SyntaxError: .*line 1"),
        ("import nothing_of_that_name", "ModuleNotFoundError: No module named"),
        ("from sinagot_catalog import models\nclass Record(models.Recrod): pass", "AttributeError: "),
    ],
)
def test_file_that_cannot_be_imported_is_one_sentence_that_names_it(lab_folder, text, said):
    ws = Workspace(bring(lab_folder(), record=text))
    for ask in (lambda: ws.EEG.get("R1"), lambda: ws.records.get("R1").EEG):
        with pytest.raises(UsageError, match=rf"EEG/models/record.py cannot be imported: {said}"):
            ask()
    assert ws.RS.steps.collect().height > 0


def test_plain_class_is_mixed_into_ours(lab_folder):
    plain = "class Record:\n    task = 'HDC'\n    def shout(self):\n        return f'{self.id}?'\n"
    record = Workspace(bring(lab_folder(), record=plain, collection=None)).EEG.get("R1")
    assert record.shout() == "R1?"
    assert record.task == "HDC"


def test_class_attribute_task_pins_the_task(lab_folder):
    plain = COLLECTION.replace("    def", "    task = 'HDC'\n    def")
    ws = Workspace(bring(lab_folder(), collection=plain))
    assert (ws.EEG.task, ws.EEG.modality, ws.EEG.is_unit) == ("HDC", "EEG", True)
    assert ws.EEG.ids() == ["R1"]
    assert ws.EEG.steps.scripts_names() == ["clean"]


def test_pinned_task_does_not_stand_in_for_one_that_is_said(lab_folder):
    plain = COLLECTION.replace("    def", "    task = 'HDC'\n    def")
    ws = Workspace(bring(lab_folder(), collection=plain))
    assert (ws.RS.EEG.task, ws.RS.EEG.ids()) == ("RS", ["R1", "R2"])
    assert [one.task for one in ws.records.iter_units() if one.modality == "EEG"] == ["RS", "HDC"]


def test_pinned_task_that_the_modality_lacks_is_an_error(lab_folder):
    ws = Workspace(bring(lab_folder(), collection=COLLECTION.replace("    def", "    task = 'HCD'\n    def")))
    with pytest.raises(SelectionError, match=r"'HCD' is not a task of EEG; did you mean 'HDC'"):
        _ = ws.EEG


def test_attribute_error_within_a_property_is_told_as_it_is(custom):
    record = custom.EEG.get("R1")
    with pytest.raises(AttributeError, match="no attribute 'no_such_method'"):
        _ = record.lost
    with pytest.raises(AttributeError, match="'clean' is not valid for <EEGRecord"):
        _ = record.broken


def test_edited_class_is_taken_up(custom, tmp_path):
    assert custom.EEG.get("R1").shown == "first"
    (tmp_path / "workspace/scripts/EEG/models/record.py").write_text(RECORD.format(shown="a second one"))
    assert custom.EEG.get("R1").shown == "a second one"


def test_code_of_a_workspace_that_is_not_trusted_is_not_run(lab_folder, tmp_path):
    folder = bring(
        lab_folder(), record=f"open({str(tmp_path / 'ran')!r}, 'w').close()\n" + RECORD.format(shown="")
    )
    assert type(Workspace(folder, trust=False).EEG.get("R1")) is models.Record
    assert not (tmp_path / "ran").exists()


def test_helper_beside_the_class_is_importable(lab_folder):
    folder = bring(
        lab_folder(), record="from voice import LOUD\n" + RECORD.format(shown="").replace("!", "{LOUD}")
    )
    (folder / "scripts/EEG/models/voice.py").write_text("LOUD = '!!!'\n")
    assert Workspace(folder).EEG.get("R1").shout() == "R1!!!"


@pytest.mark.parametrize(
    "duplicate",
    [copy.copy, copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))],  # noqa: S301 - our own bytes
    ids=["copy", "deepcopy", "pickle"],
)
def test_handles_of_custom_classes_can_be_copied_and_pickled(custom, duplicate):
    assert duplicate(custom.EEG.get("R1")).shout() == "R1!"
    assert duplicate(custom.RS.EEG.filter(record_id="R1")).shouts() == ["R1!"]
    assert duplicate(custom).EEG.shouts() == ["R1!", "R2!"]


def test_custom_record_runs_and_tells_its_status(custom):
    report = custom.HDC.EEG.get("R1").steps.run(mode="main_process", progress=False)
    assert report.counts() == {"done": 1}
    assert custom.HDC.EEG.get("R1").steps.get("clean").status().name == "DONE"
