r"""Wildcards: reduces paths that match a pattern with `*` to what tells their record. Standard library only.

A pattern such as `raw/{id}/*.png` is *reduced* to `raw/{id}`: the parts with a wildcard are left out, but for the
values of fields in them, which become parts of their own (`{id}_*.png` becomes `{id}`). A path of the pattern
reduces likewise, so a record's files are those whose reduced path is the reduced pattern, filled for the record.

`*` matches any text within one name, and `**` any number of folders. Neither matches a name that begins with a dot,
as in a shell.
"""

import re
from collections.abc import Callable
from functools import cached_property, lru_cache, partial

from sinagot_catalog.errors import PatternError
from sinagot_catalog.patterns.fields import Tokens, path_of
from sinagot_catalog.patterns.id_pattern import IdPattern
from sinagot_catalog.patterns.template import Template
from sinagot_catalog.startup import dataclass

MOST_FOLDERS = 16
"""The most folders that one `**` spans."""

_NOTHING = "*"
"""The reduced pattern of a pattern without a literal folder or field, such as `*.csv`."""
NAME = r"[^/.][^/]*"
"""The regular expression of a name that wildcards match: it does not begin with a dot."""


@dataclass(frozen=True)
class Reduction:
    """How the paths of one pattern, without optional fields, reduce.

    Attributes:
        reduced: The pattern of the reduced paths.
        regex: Matches the whole paths; valid for Python and Rust. Its groups, joined by `/`, are the reduced path.
    """

    reduced: Template
    regex: str

    @cached_property
    def n_groups(self) -> int:
        """The number of groups of `regex`."""
        return re.compile(self.regex).groups

    def fits(self, path: str) -> bool:
        r"""Whether a path matches.

        Example:
            >>> from sinagot_catalog.patterns.template import parse_template
            >>> one = parse_template("raw/{id}/*.png", fields={"id"}, wildcards=True)
            >>> (way,) = reductions(one, IdPattern(r"R\d+")).values()
            >>> way.reduced.text, way.fits("raw/R1/a.png"), way.fits("raw/R1/.a.png")
            ('raw/{id}', True, False)
        """
        return re.fullmatch(self.regex, path) is not None


@lru_cache(maxsize=1024)
def reductions(template: Template, ids: IdPattern) -> dict[frozenset[str], Reduction]:
    """How the paths of a pattern with wildcards reduce, by the optional fields that have no value.

    Raises:
        PatternError: When a wildcard beside a field would make it ambiguous where the field ends.
    """
    return {absent: _reduction(variant, ids) for absent, variant in template.variants.items()}


def _reduction(variant: Template, ids: IdPattern) -> Reduction:
    parts = variant.parts
    if sum(part == (("deep", "**"),) for part in parts) > 1:
        raise PatternError(f"{variant.text!r} has more than one '**'", "Keep one.")
    reduced: list[Tokens] = []
    regexes: list[str] = []
    for part in parts:
        kinds = {kind for kind, _ in part}
        if part == (("deep", "**"),):
            regexes.append(rf"(?:{NAME}/){{0,{MOST_FOLDERS}}}")
        elif "deep" in kinds:
            raise PatternError(
                f"{variant.text!r} has '**' beside other text",
                "A '**' stands alone between slashes; write '*'.",
            )
        elif "any" not in kinds:
            reduced.append(part)
            literal = "".join(re.escape(value) if kind == "text" else "[^/]+" for kind, value in part)
            regexes.append(f"({literal})/")
        else:
            reduced += [(token,) for token in part if token[0] == "field"]
            regexes.append(name_regex(part, partial(_field_regex, variant, part, ids)) + "/")
    text = "".join(regexes).removesuffix("/")
    if parts[-1] == (("deep", "**"),):
        text += NAME
    return Reduction(Template(path_of(reduced or [(("text", _NOTHING),)])), text)


def name_regex(part: Tokens, values_at: Callable[[int], str] = str) -> str:
    """The regular expression of one name with a wildcard.

    Args:
        part: The tokens of the name.
        values_at: Gives that of the values of the field at a position; each field is a group.
    """
    if part == (("any", "*"),):
        return NAME
    texts = []
    for number, (kind, value) in enumerate(part):
        if kind == "text":
            texts.append(re.escape(value))
        elif kind == "any":
            texts.append("[^/]*" if number else f"(?:{NAME})?")
        else:
            texts.append(f"({values_at(number)})")
    return "".join(texts)


def _field_regex(variant: Template, part: Tokens, ids: IdPattern, number: int) -> str:
    """The values of a field beside a wildcard, which must not be able to run into the text around them."""
    name = part[number][1]
    width = ids.width_of(name)
    if width is not None:
        return f"[^/]{{{width}}}"
    stars = [at for at, (kind, _) in enumerate(part) if kind == "any"]
    # where only text and fields come before a field, the name tells where it begins; likewise where it ends
    sides = [(number - 1, -1)] if number > stars[0] else []
    sides += [(number + 1, 0)] if number < stars[-1] else []
    ends = []
    for at, side in sides:
        kind, value = part[at]
        if kind != "text" or ids.may_hold(name, value[side]):
            beside = "the wildcard" if kind == "any" else repr(value) if kind == "text" else f"{{{value}}}"
            raise PatternError(
                f"{variant.text!r}: where {{{name}}} ends beside {beside} is ambiguous, because its values may "
                "vary in length" + (f" and hold {value[side]!r}" if kind == "text" else ""),
                _ways_out(name, ids),
            )
        ends.append(re.escape(value[side]))
    return f"[^/{''.join(dict.fromkeys(ends))}]+"


def _ways_out(name: str, ids: IdPattern) -> str:
    """What to do about a field whose end is ambiguous."""
    form = ids.form
    if name == "id" and not isinstance(form, str) and len(form.fields) > 1:
        return f"Write {form.text} in place of {{id}}."
    return (
        "Put the files of a record into a folder of its own, or a character between them that no value has."
    )
