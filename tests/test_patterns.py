"""Pattern -> path -> row and back, over whole columns, with Python's meaning of the id pattern."""

import re

import polars as pl
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from sinagot_catalog._patterns import _columns
from sinagot_catalog._patterns._columns import id_columns, match_columns, near_misses, paths_of
from sinagot_catalog._patterns._names import match_names, whole_paths
from sinagot_catalog._patterns._template import (
    IdPattern,
    Template,
    is_safe_id,
    parse_labelled,
    parse_template,
)
from sinagot_catalog._scan import in_folders
from sinagot_catalog.errors import PatternError

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
    r"(?P<day>\d{4}/\d\d)",
    r"\x2f?a",
]
"""Safe ones, ones that only Python runs, with groups, with `/`, matching the empty text."""

NEAR_IDS = st.text("REC-0129_ab cdABdxé²٣\n./\x1c\u00a0", max_size=9)


def fields(ids):
    return {"id", *ids.groups}


def rows(paths, templates, ids):
    return sorted(match_columns(pl.Series(paths, dtype=pl.String), templates, ids).rows())


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
                    if "id" in one.fields and one.format(values) == path
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
        tokens.append(("field", name))
    text = draw(literal)
    tokens += [("text", text)] if text else []
    return Template(tuple(tokens))


@st.composite
def cases(draw):
    ids = IdPattern(draw(st.sampled_from(PATTERNS)))
    record = draw(st.one_of(st.from_regex(ids.regex, fullmatch=True), NEAR_IDS))
    return ids, draw(templates(ids)), record


@settings(max_examples=200, deadline=None)
@given(cases(), st.lists(literal, max_size=3))
def test_any_id_that_fits_goes_from_pattern_to_path_to_row(case, others):
    """A path fits a pattern for an id when the id fits and the pattern filled with it is that path."""
    ids, template, record = case
    values = ids.values(record)
    assume(values is not None and len(record) < 20)
    path = template.format(values)
    paths = [path, *others, path + "x"]
    found = rows(paths, [template], ids)
    assert (0, 0, record) in found
    assert found == reference(paths, [template], ids)


@settings(max_examples=200, deadline=None)
@given(cases())
def test_what_does_not_fit_is_no_row(case):
    ids, template, record = case
    assume("\0" not in record and len(record) < 20)
    path = template.format(dict.fromkeys(template.fields, record))
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
    assert _columns._rust(ids) is not None
    try:
        fits = _columns.fitting(pl.Series(texts, dtype=pl.String), ids)
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
        template.format(ids.values(text)) for text in texts
    ]


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


def test_an_id_stays_within_a_part_unless_its_pattern_says_so():
    template = parse_template("raw/{id}.csv", fields={"id"})
    assert rows(["raw/a/b.csv"], [template], IdPattern(".+")) == []
    assert rows(["raw/a/b.csv"], [template], IdPattern("[a-z]/[a-z]")) == [(0, 0, "a/b")]
    assert rows(["raw/a/../b.csv"], [template], IdPattern("[a-z./]+")) == []


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
    st.sampled_from([r"[a-c]+", r"R-\d", r"(?P<g>[a-c])x?", r"[a-c]+(?:/[a-c])?", r"(?=.*a)[a-c]+"]),
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
