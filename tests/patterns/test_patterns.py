"""Pattern -> path -> row and back, over whole columns, with Python's meaning of the id pattern."""

import re

import polars as pl
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from sinagot_catalog.errors import PatternError
from sinagot_catalog.patterns.id_pattern import IdPattern, is_safe_id
from sinagot_catalog.patterns.id_regex import fitting, rust_of
from sinagot_catalog.patterns.match_listing import match_names, whole_paths
from sinagot_catalog.patterns.match_paths import id_columns, match_columns, near_misses, paths_of
from sinagot_catalog.patterns.template import Template, parse_labelled, parse_template
from sinagot_catalog.storage.listing import in_folders

PATTERNS = [
    r"REC-\d+",
    r"^REC-[0-9]{2,4}$",
    r".+",
    r"[^_]+",
    r"\w+",
    r"[!-~]+",
    r"(a|ab)(c|bcd)(d*)",
    r"(?P<site>[A-Z]+)-(?P<n>\d+)",
    r"(?P<site>\w+?)_?(?P<n>\d*)",
    r"(?:(?P<x>a)|b)+",
    r"(?P<site>[A-Z])(?P<rest>.)?",
    r"sub-\S+(?:_ses-\d)?",
    r"(?=.*\d)[a-z0-9]+",
    r"(?!bad)[a-z]+",
    r"(\w)\1+",
    r"(?i:rec)-\d",
    r"(?s:.+)x",
    r"[\w-]+\Z",
    r"\d+\b",
    r"a{1,3}?b{2}",
    r"",
    r"(?P<day>\d{4}-\d\d)_(?P<shot>\w*)",
    r"[^/]?a",
]
"""Safe ones, ones that only Python runs, with groups, matching the empty text."""

NEAR_IDS = st.text("REC-0129_ab cdABdxé²٣\n./\x1c\u00a0", max_size=9)


def fields(ids):
    return {"id", *ids.groups}


def rows(paths, templates, ids):
    return sorted(match_columns(pl.Series(paths, dtype=pl.String), templates, ids).rows())


def filled(template, values):
    """The path of a pattern, None where it names none."""
    try:
        return template.format(values)
    except PatternError:
        return None


def reference(paths, templates, ids):
    """The contract, tried the slow way: every part of the path that is an id and gives the path again."""
    found = set()
    for row, path in enumerate(paths):
        parts = {path[a:b] for a in range(len(path)) for b in range(a + 1, len(path) + 1)}
        for part in parts:
            values = ids.values(part)
            if values is not None:
                found |= {
                    (row, n, part)
                    for n, one in enumerate(templates)
                    if "id" in one.fields and filled(one, values) == path
                }
    return sorted(found)


# -- laws ---------------------------------------------------------------------------------------------

literal = st.text(
    st.one_of(
        st.sampled_from("a+b (1)x[1]{}'\"*?$^|\\.,#-\n é漢🦀"),
        st.characters(exclude_categories=["Cs"], exclude_characters="\0/"),
    ),
    max_size=6,
)


@st.composite
def templates(draw, ids, *, with_id=True):
    """Literal text with braces, quotes and newlines around `{id}` and the groups."""
    names = sorted(fields(ids))
    chosen = draw(st.lists(st.sampled_from(names), min_size=0 if with_id else 1, max_size=3))
    if with_id:
        chosen.insert(draw(st.integers(0, len(chosen))), "id")
    tokens = []
    for name in chosen:
        text = draw(literal) + draw(st.sampled_from(["", "/", "-"]))
        tokens += [("text", text)] if text else []
        tokens.append(("field" if name == "id" else draw(st.sampled_from(["field", "optional"])), name))
    text = draw(literal)
    tokens += [("text", text)] if text else []
    return Template(tuple(tokens))


@st.composite
def cases(draw):
    ids = IdPattern(draw(st.sampled_from(PATTERNS)))
    record = draw(st.one_of(st.from_regex(ids.regex, fullmatch=True), NEAR_IDS))
    return ids, draw(templates(ids)), record


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(cases(), st.lists(literal, max_size=3))
def test_any_id_that_fits_goes_from_pattern_to_path_to_row(case, others):
    """A path fits a pattern for an id when the id fits and the pattern filled with it is that path."""
    ids, template, record = case
    values = ids.values(record)
    assume(values is not None and len(record) < 20)
    path = filled(template, values)
    assume(path is not None)
    paths = [path, *others, path + "x"]
    found = rows(paths, [template], ids)
    assert (0, 0, record) in found
    assert found == reference(paths, [template], ids)


@settings(max_examples=200, deadline=None)
@given(cases())
def test_what_does_not_fit_is_no_row(case):
    ids, template, record = case
    assume("\0" not in record and len(record) < 20)
    path = filled(template, dict.fromkeys(template.fields, record))
    assume(path is not None)
    assert rows([path], [template], ids) == reference([path], [template], ids)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(PATTERNS), st.lists(NEAR_IDS, max_size=8))
@example(r"\w+", ["é", "²", "٣", "a\u0301"])
@example(r"\d+", ["٣"])
@example(r"REC-\d+$", ["REC-1\n"])
@example(r".+", ["..", ".", "", "a/b", "../a", "\n"])
@example(r"\S+", ["\x1c", "\u00a0", "\x85"])
def test_rust_and_python_agree_on_every_id(pattern, texts):
    ids = IdPattern(pattern)
    template = parse_template("x{id}y", fields=fields(ids))
    expected = [(n, 0, text) for n, text in enumerate(texts) if ids.values(text) is not None]
    assert rows([f"x{text}y" for text in texts], [template], ids) == expected


@settings(max_examples=200, deadline=None)
@given(st.sampled_from([one for one in PATTERNS if "?P<" in one]), st.data())
def test_groups_are_pythons(pattern, data):
    ids = IdPattern(pattern)
    texts = data.draw(st.lists(st.one_of(st.from_regex(ids.regex, fullmatch=True), NEAR_IDS), max_size=6))
    texts = [text for text in texts if ids.values(text) is not None]
    frame = id_columns(pl.Series(texts, dtype=pl.String), ids)
    assert frame.columns == ["record_id", *ids.groups]
    assert [{"id": row.pop("record_id"), **row} for row in frame.rows(named=True)] == [
        ids.values(text) for text in texts
    ]


regexes = st.recursive(
    st.sampled_from(
        ["a", "b", "[ab]", "[^a]", r"\d", r"\W", ".", "1", r"\.", "[a-c1]", r"[\s-]", "é", "[!-~]", r"\$"]
    ),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map(lambda two: f"(?:{two[0]}|{two[1]})"),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}", "{1,3}", "*?", "+?", "??"])).map(
            lambda two: f"({two[0]}){two[1]}"
        ),
    ),
    max_leaves=6,
)


@settings(max_examples=200, deadline=None)
@given(regexes, st.lists(st.text("ab1. -$\né/", max_size=6), max_size=8))
def test_a_translated_expression_means_the_same(pattern, texts):
    ids = IdPattern(pattern)
    assert rust_of(ids) is not None
    try:
        fits = fitting(pl.Series(texts, dtype=pl.String), ids)
    except PatternError as error:  # beyond ASCII Python matches, which takes for ever over `(a*)*`
        assume("repeats what is itself repeated" not in str(error))
        raise
    assert fits.to_list() == [ids.values(text) is not None for text in texts]


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(PATTERNS), st.data())
def test_the_paths_of_a_frame_are_those_of_each_record(pattern, data):
    ids = IdPattern(pattern)
    template = data.draw(templates(ids, with_id=False))
    texts = data.draw(st.lists(st.from_regex(ids.regex, fullmatch=True), max_size=4))
    texts = [text for text in texts if ids.values(text) is not None]
    frame = id_columns(pl.Series(texts, dtype=pl.String), ids)
    assert frame.select(paths_of(template)).to_series().to_list() == [
        filled(template, ids.values(text)) for text in texts
    ]


FORMS = [
    r"(?P<mouse>m\d+)_(?P<day>\d{4}-\d\d)",
    r"sub-(?P<sub>\w+?)(?:_ses-(?P<ses>\d+))?",
    r"(?:(?P<a>[a-c]+)_)?x(?P<b>[a-c_]+)",
    r"(?P<a>[a-c]{2})(?P<b>[a-c]+)",
    r"(?P<a>[a-c_]+)-(?P<b>[a-c_]+)",
    r"(?P<a>[^_]+)_(?P<b>.+)",
    r"(?P<a>(?i:[a-c]+))_(?P<b>_?[a-c])",
    r"R(?P<n>\d+)(?P<kind>(?:ab|a)?)",
]
"""Id patterns whose ids can be written from their fields."""


@st.composite
def field_templates(draw, ids):
    """Patterns with all fields in any order, some of them twice or optional, and no `{id}`."""
    names = draw(st.permutations(sorted(ids.groups)))
    names = [*names, *draw(st.lists(st.sampled_from(names), max_size=2))]
    tokens = [("text", draw(st.sampled_from(["raw/", "x-", "raw/x_"])))]
    for name in names:
        tokens.append((draw(st.sampled_from(["field", "field", "optional"])), name))
        text = draw(st.sampled_from(["/", "_", "-", "_a-", "", "/b_"]))
        tokens += [("text", text)] if text else []
    return Template((*tokens, ("field", "tail"))).bind({"tail": "z"})


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(st.sampled_from(FORMS), st.data())
def test_a_pattern_with_all_fields_finds_the_records_that_it_names(pattern, data):
    """Each id goes to its path and back; what is found fits, and gives that path."""
    ids = IdPattern(pattern)
    template = data.draw(field_templates(ids))
    assume(template.variants)
    records = data.draw(st.lists(st.from_regex(ids.regex, fullmatch=True), min_size=1, max_size=4))
    records = [one for one in records if ids.values(one) is not None and len(one) < 30]
    paths = {one: filled(template, ids.values(one)) for one in records}
    some = sorted({path for path in paths.values() if path is not None})
    found = rows(some, [template], ids)
    assert {(some.index(path), 0, one) for one, path in paths.items() if path is not None} <= set(found)
    assert len(found) == len(set(found))
    for row, _, one in found:
        assert filled(template, ids.values(one)) == some[row]


@pytest.mark.slow
@pytest.mark.parametrize("pattern", FORMS)
@settings(deadline=None)
@given(st.data())
def test_an_id_is_written_from_its_fields(pattern, data):
    ids = IdPattern(pattern)
    record = data.draw(st.from_regex(ids.regex, fullmatch=True))
    values = ids.values(record)
    assume(values is not None)
    assert ids.form.write(values) == record


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        (r"(?P<a>\d)[-_](?P<b>\d)", "the text between {a} and {b} varies"),
        (r"(?P<a>\d)_?(?P<b>\d)", "the text between {a} and {b} varies"),
        (r".*_(?P<a>\d)", "the text before {a} varies"),
        (r"(?P<a>\d)(?:-x|-y)", "the text behind {a} varies"),
        (r"(?:(?P<a>\d)-)+x", "the part with {a} is repeated or has alternatives"),
        (r"REC-\d+", "it has no named groups that make up the id"),
    ],
)
def test_why_an_id_cannot_be_written_is_told(pattern, reason):
    assert IdPattern(pattern).form == reason


@pytest.mark.parametrize(
    ("pattern", "values", "path"),
    [
        ("sub-{sub}/ses-{ses?}/sub-{sub}_ses-{ses?}_bold.nii.gz", "1 ", "sub-1/sub-1_bold.nii.gz"),
        (
            "sub-{sub}/ses-{ses?}/sub-{sub}_ses-{ses?}_bold.nii.gz",
            "1 2",
            "sub-1/ses-2/sub-1_ses-2_bold.nii.gz",
        ),
        ("ses-{ses?}_sub-{sub}.csv", "1 ", "sub-1.csv"),
        ("raw/ses-{ses?}_sub-{sub}.csv", "1 ", "raw/sub-1.csv"),
        ("raw/{sub}-{ses?}.csv", "1 ", "raw/1.csv"),
        ("raw/{sub}_{ses?}/x", "1 ", "raw/1/x"),
        ("{ses?}/{sub}", "1 ", "1"),
        ("{sub}/{ses?}/", "1 ", "1"),
        ("a_b-{ses?}c/{sub}", "1 ", "ac/1"),
    ],
)
def test_an_optional_field_without_a_value_goes_with_the_text_before_it(pattern, values, path):
    template = parse_template(pattern, fields={"sub", "ses"})
    sub, ses = values.split(" ")
    assert template.format({"sub": sub, "ses": ses}) == path
    ids = IdPattern(r"sub-(?P<sub>\d)(?:_ses-(?P<ses>\d))?")
    record = f"sub-{sub}" + (f"_ses-{ses}" if ses else "")
    assert rows([path], [template], ids) == [(0, 0, record)]


@pytest.mark.parametrize("text", ["{id?}/x", "{task?}", "{ses?}"])
def test_an_optional_field_that_cannot_be_is_told(text):
    def fill():
        return parse_template(text, fields={"id", "task", "ses"}).format({"id": "x", "task": "t", "ses": ""})

    with pytest.raises(PatternError, match=r"can be optional|names no file"):
        fill()


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (".._1", "its field site is '..'"),
        (".\n_1", "holds a control character"),
        ("a/b_1", "holds a '/'"),
        ("a", "does not fit id_pattern"),
    ],
)
def test_a_field_is_checked_like_an_id(record, said):
    ids = IdPattern(r"(?P<site>[^_]+)_(?P<n>[^_]+)")
    assert ids.values(record) is None
    assert said in ids.refusal(record)
    template = parse_template("{site}/{n}.out", fields=fields(ids))
    whole = parse_template("raw/{id}.csv", fields=fields(ids))
    assert rows([f"raw/{record}.csv", "../1.out", "x/1.out"], [template, whole], ids) == [(2, 0, "x_1")]


@pytest.mark.parametrize("pattern", ["{a}{b}/x", ".{a}/x", "x/{a}{b}"])
def test_parts_of_a_path_that_come_together_from_fields_name_no_folder_above(pattern):
    ids = IdPattern(r"(?P<a>[^_]+)_(?P<b>[^_]+)")
    template = parse_template(pattern, fields=fields(ids))
    frame = id_columns(pl.Series(["._.", "x_y"]), ids)
    assert frame["a"].to_list() == [None, "x"] or ids.values("._.") is None
    with pytest.raises(PatternError, match="names no file"):
        template.format({"id": "", "a": ".", "b": "."})


# -- single behaviours --------------------------------------------------------------------------------


def test_literal_text_is_literal():
    ids = IdPattern(r"\d+")
    template = parse_template("a+b (1)/x[1] {y y}/{id}.c.v", fields={"id"})
    assert rows(
        ["a+b (1)/x[1] {y y}/7.c.v", "aab (1)/x1 {y y}/7.c.v", "a+b (1)/x[1] {y y}/7xcxv"], [template], ids
    ) == [(0, 0, "7")]


def test_an_id_twice_is_the_same_id():
    ids = IdPattern("[AB]+")
    template = parse_template("raw/{id}/{id}-raw.csv", fields={"id"})
    assert rows(["raw/A/A-raw.csv", "raw/A/B-raw.csv", "raw/AB/AB-raw.csv"], [template], ids) == [
        (0, 0, "A"),
        (2, 0, "AB"),
    ]


def test_a_group_in_the_path_is_the_ids_own_group():
    ids = IdPattern(r"(?P<site>[A-Z]+)-(?P<n>\d+)")
    template = parse_template("{site}/{id}/{n}.csv", fields=fields(ids))
    assert rows(["REC/REC-1/1.csv", "XYZ/REC-1/1.csv", "REC/REC-1/2.csv"], [template], ids) == [
        (0, 0, "REC-1")
    ]


@pytest.mark.parametrize("text", ["{site}-{id}-x", "{id}{site}", "{site}{id}", "{n}/{site}_{id}_{n}"])
def test_groups_that_touch_the_id_are_told_apart(text):
    ids = IdPattern(r"(?P<site>[A-Z]+)-(?P<n>\d+)")
    template = parse_template(text, fields=fields(ids))
    paths = [template.format(ids.values(one)) for one in ("A-1", "AA-11", "A-12")]
    assert rows(paths, [template], ids) == [(0, 0, "A-1"), (1, 0, "AA-11"), (2, 0, "A-12")]


def test_fields_of_a_fixed_length_beside_each_other_leave_long_names_readable():
    ids = IdPattern(r"(?P<y>\d{4})-(?P<m>\d\d)-(?P<d>\d\d)-(?P<site>[a-z_]+)-(?P<cam>cam_\d+)")
    template = parse_template("{y}{m}{d}_{site}_{cam}.jpg", fields=fields(ids))
    site = "_".join(["station_of_the_north"] * 4)
    found = rows([f"20260102_{site}_cam_1.jpg"], [template], ids)
    assert found == [(0, 0, f"2026-01-02-{site}-cam_1")]


def test_an_id_stays_within_a_part():
    template = parse_template("raw/{id}.csv", fields={"id"})
    assert rows(["raw/a/b.csv"], [template], IdPattern(".+")) == []
    assert rows(["raw/a/b.csv", "raw/a.csv"], [template], IdPattern("[^/]+")) == [(1, 0, "a")]


def test_an_id_pattern_with_flags_stands_beside_a_star():
    template = parse_template("raw/{id}_*.png", fields={"id"}, wildcards=True)
    paths = ["raw/REC-1_a.png", "raw/rec-2_b.png", "raw/rec-33_c.png"]
    assert rows(paths, [template], IdPattern(r"(?i)rec-[0-9]")) == [(0, 0, "REC-1"), (1, 0, "rec-2")]


@pytest.mark.parametrize(
    ("pattern", "hint"),
    [
        (r"[a-z]/[a-z]", r"'(?P<part1>[a-z])_(?P<part2>[a-z])', and {part1}/{part2}"),
        (r"(?P<day>\d{4})/(?P<n>\d)", r"'(?P<day>\d{4})_(?P<n>\d)', and {day}/{n}"),
        (r"\x2f?a", "(?P<a>…)"),
        (r"[a-z./]+", "(?P<a>…)"),
        (r"a(?:/b)?", "(?P<a>…)"),
    ],
)
def test_an_id_pattern_over_folders_is_refused_with_how_to_write_it_as_fields(pattern, hint):
    with pytest.raises(PatternError, match="an id does not span folders") as told:
        IdPattern(pattern)
    assert hint in told.value.hint


def test_prefix_and_suffix_do_not_overlap():
    assert (
        rows(
            ["aba", "ababa"], [Template((("text", "aba"), ("field", "id"), ("text", "ba")))], IdPattern(".*")
        )
        == []
    )


@pytest.mark.parametrize(
    ("pattern", "fit", "miss"),
    [
        (r"(?!REC-0)REC-\d", "REC-1", "REC-0"),
        (r"(\w)\1", "aa", "ab"),
        (r"(?<=R)?R\d", "R1", "RR"),
        (r"(?i)rec", "ReC", "RxC"),
        (r"[a&&b]+", "a&b", "c"),
        (r"x{1,100000}", "xxx", "xy"),
    ],
)
def test_what_rusts_expressions_cannot_say_still_works(pattern, fit, miss):
    template = parse_template("{id}.csv", fields={"id"})
    assert rows([f"{fit}.csv", f"{miss}.csv"], [template], IdPattern(pattern)) == [(0, 0, fit)]


NAME_TEXTS = ["{id}", "{id}.csv", "{id}-a", "x{id}", "x{id}-a", "all", "{id}{id}", "{g}-{id}"]
FOLDER_TEXTS = ["", "raw/", "{id}/", "{id}/deep/", "raw/{id}/", "{g}/", "{id}-{id}/"]


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(
        [r"[a-c]+", r"R-\d", r"(?P<g>[a-c])x?", r"(?P<g>[a-c])(?:_(?P<h>[a-c]))?", r"(?=.*a)[a-c]+"]
    ),
    st.lists(st.tuples(st.sampled_from(FOLDER_TEXTS), st.sampled_from(NAME_TEXTS)), min_size=1, max_size=5),
    st.lists(st.sampled_from(["a", "ab", "c", "R-1", "axx", "a/b", "", "é"]), max_size=4),
    st.randoms(use_true_random=False),
)
def test_names_by_folder_fit_what_whole_paths_fit(pattern, texts, values, chance):
    ids = IdPattern(pattern)
    texts = [folder + name for folder, name in texts if "{g}" not in folder + name or "g" in ids.groups]
    templates = [parse_template(text, fields=fields(ids)) for text in texts]
    paths = [
        re.sub(
            r"\{(id|g)\}",
            lambda _: chance.choice(values),
            re.sub(r"\{id\}", value, text, count=chance.choice([0, 1])),
        )
        for text in [*texts, "raw/other", "x"]
        for value in values
    ]
    paths = sorted({path for path in paths if not path.startswith("/") and "//" not in path})
    folders, names = in_folders(pl.Series(paths, dtype=pl.String))
    assert whole_paths(folders, names).to_list() == paths
    found = match_names(folders, names, templates, ids)
    told = found.rows.with_columns(found.ids.gather(found.rows["key"]).alias("record_id"))
    expected = match_columns(pl.Series(paths, dtype=pl.String), templates, ids)
    assert sorted(told.select("row", "template", "record_id").rows()) == sorted(expected.rows())


def test_no_paths_and_no_templates_give_the_same_columns():
    ids = IdPattern("a(?P<g>b)")
    grouped = parse_template("{id}/{g}", fields=fields(ids))
    plain = parse_template("{id}", fields={"id"})
    alone = parse_template("all.csv", fields={"id"})
    for paths, given_templates in (([], [plain, grouped]), (["x"], []), (["all.csv"], [alone])):
        frame = match_columns(pl.Series(paths, dtype=pl.String), given_templates, ids)
        assert frame.schema == {"row": pl.UInt32, "template": pl.UInt16, "record_id": pl.String}
        assert frame.height == 0
    assert id_columns(pl.Series([], dtype=pl.String), ids).schema == {"record_id": pl.String, "g": pl.String}


def test_a_path_without_placeholders_stands_once_per_record():
    frame = pl.DataFrame({"record_id": ["A", "B"]})
    assert frame.select(paths_of(parse_template("all.csv", fields=set()))).height == 2


def test_examples_of_near_misses_lie_under_the_pattern():
    ids = IdPattern(r"REC-\d+")
    found = near_misses(
        pl.Series(["raw/REC-1.csv", "raw/REC-2-raw.csv", "other/REC-3-raw.csv", "out/x"]),
        [parse_template("raw/{id}-raw.csv", fields={"id"}), parse_template("out/{id}.csv", fields={"id"})],
        ids,
    )
    assert found == [("out/x", "out/{id}.csv"), ("raw/REC-1.csv", "raw/{id}-raw.csv")]
    assert near_misses(pl.Series([], dtype=pl.String), [], ids) == []


def test_a_near_miss_is_compared_without_the_fields_that_it_lacks():
    texts = ("s-{sub}/ses-{ses?}/eeg/s-{sub}_ses-{ses?}_run-{run?}_eeg.edf", "s-{sub}/beh/s-{sub}_beh.tsv")
    templates = [parse_template(text, fields={"sub", "ses", "run"}) for text in texts]
    path = "s-1/eeg/s-1_eeg (1).edf"
    assert near_misses(
        pl.Series([path]), templates, IdPattern(r"s-(?P<sub>\d)(_ses-(?P<ses>\d))?(_run-(?P<run>\d))?")
    ) == [(path, texts[0])]


# -- one template -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text", "is_directory"),
    [
        (("raw", "{id}.csv"), "raw/{id}.csv", False),
        (["raw", "{id}", ""], "raw/{id}", True),
        ("./raw//{id}", "raw/{id}", False),
        ("raw/{a,b}/{ x }/{}", "raw/{a,b}/{ x }/{}", False),
    ],
)
def test_a_pattern_is_a_text_or_its_parts(value, text, is_directory):
    template = parse_template(value, fields={"id"})
    assert (template.text, template.is_directory) == (text, is_directory)


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("{idd}.csv", r"unknown placeholder \{idd\} in '\{idd\}.csv'; did you mean 'id'\?"),
        ("/etc/{id}", "leaves the dataset"),
        ("a/../../{id}", "leaves the dataset"),
        ("", "is empty"),
        (3, "not int"),
    ],
)
def test_a_pattern_that_cannot_be_is_told(value, sentence):
    with pytest.raises(PatternError, match=sentence):
        parse_template(value, fields={"id"})


def test_labels_name_several_patterns():
    two = parse_labelled({"a": ("x", "{id}"), "b": "y/{id}"}, fields={"id"})
    assert [(label, one.text) for label, one in two] == [("a", "x/{id}"), ("b", "y/{id}")]
    assert parse_labelled(None, fields={"id"}) == ()


@pytest.mark.parametrize("pattern", ["(", "[a", "(?P<id>x)", "a{2,1}"])
def test_a_bad_id_pattern_is_told(pattern):
    with pytest.raises(PatternError, match=re.escape(repr(pattern))):
        IdPattern(pattern)


@pytest.mark.parametrize("text", ["", ".", "..", "a/..", "../a", "/a", "a//b", "a\0"])
def test_an_unsafe_id_is_no_id(text):
    assert not is_safe_id(text)
