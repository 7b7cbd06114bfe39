"""Path templates: parses, fills and binds one path pattern. Standard library only: workers use it."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any

from sinagot_catalog.errors import PatternError, did_you_mean
from sinagot_catalog.patterns.fields import Tokens, joined, parts_of, path_of, variants
from sinagot_catalog.startup import dataclass

_FIELD = re.compile(r"\{([^{}/]*)\}")
_NOWHERE = frozenset({"", ".", ".."})
"""Names that are not names of a child of a folder."""
RESERVED = frozenset({"id", "record_id", "task", "modality"})
_MOST_OPTIONAL = 6
_SUFFIX = re.compile(r"(?:\.\w+)?\.(?:gz|bz2|xz|zst)$|\.[^.]*$")
_MARKS = {"text": "{0}", "field": "{{{0}}}", "optional": "{{{0}?}}", "any": "{0}", "deep": "{0}"}
WILD = frozenset({"any", "deep"})
"""The kinds of tokens that are wildcards."""
_STARS = re.compile(r"(\\\*)|(\*+)")


@dataclass(frozen=True)
class Template:
    """A path below the dataset with placeholders for the id and its fields.

    Attributes:
        tokens: `("text", literal)`, `("field", name)`, `("optional", name)`, `("any", "*")` (any text in one name)
            and `("deep", "**")` (any number of folders) in order; two texts are never adjacent.
        is_directory: A final slash in the pattern requires a directory.
    """

    tokens: Tokens
    is_directory: bool = False

    @cached_property
    def text(self) -> str:
        """The pattern as one `/`-joined string, without the final slash."""
        return "".join(_MARKS[kind].format(value) for kind, value in self.tokens)

    @cached_property
    def fields(self) -> frozenset[str]:
        """The names of its placeholders, including optional ones."""
        return frozenset(value for kind, value in self.tokens if kind in ("field", "optional"))

    @cached_property
    def is_wild(self) -> bool:
        """Whether it has a `*`: it names many files."""
        return any(kind in WILD for kind, _ in self.tokens)

    @cached_property
    def optional(self) -> frozenset[str]:
        """The fields that are written as `{name?}`."""
        return frozenset(value for kind, value in self.tokens if kind == "optional")

    @cached_property
    def needed(self) -> frozenset[str]:
        """The fields without which it has no path."""
        return frozenset(value for kind, value in self.tokens if kind == "field")

    @cached_property
    def variants(self) -> dict[frozenset[str], "Template"]:
        """The patterns without optional fields that it expands to, by the fields that have no value.

        Example:
            >>> one = parse_template("{sub}_{ses?}.csv", fields={"sub", "ses"})
            >>> [variant.text for variant in one.variants.values()]
            ['{sub}_{ses}.csv', '{sub}.csv']
        """
        if not self.optional:
            return {frozenset(): self}
        return {
            absent: Template(tokens, self.is_directory) for absent, tokens in variants(self.tokens).items()
        }

    @cached_property
    def has_bare_parts(self) -> bool:
        """Whether values alone could make a part of its paths empty, `.` or `..`."""
        variants = self.variants
        if len(variants) < 2 ** len(self.optional - self.needed):
            return True
        for variant in variants.values():
            for part in variant.parts:
                if any(kind in WILD for kind, _ in part):
                    continue
                literal = "".join(value for kind, value in part if kind == "text")
                if literal in _NOWHERE and (literal or len(part) != 1):
                    return True
        return False

    @cached_property
    def parts(self) -> list[Tokens]:
        """The tokens of each part of its paths.

        Example:
            >>> parse_template("raw/{id}.csv", fields={"id"}).parts
            [(('text', 'raw'),), (('field', 'id'), ('text', '.csv'))]
        """
        return parts_of(self.tokens)

    @cached_property
    def prefix(self) -> str:
        """The longest literal folder of all its paths, `""` or ending in `/`."""
        if self.optional:
            return min((variant.prefix for variant in self.variants.values()), key=len)
        head = self.tokens[0][1] if self.tokens[0][0] == "text" else ""
        return head[: head.rfind("/") + 1]

    @cached_property
    def depth(self) -> int:
        """The number of parts of its paths, if no field is left out."""
        return len(self.parts)

    @cached_property
    def depths(self) -> tuple[int, ...]:
        """The numbers of parts that its paths can have: an optional field without a value may drop a folder.

        Example:
            >>> parse_template("sub-{sub}/ses-{ses?}/eeg", fields={"sub", "ses"}).depths
            (2, 3)
        """
        return tuple(sorted({variant.depth for variant in self.variants.values()}))

    def alike(self, *, has_dots: bool = False) -> str:
        r"""A regular expression of similar paths: the same literal folders and the same suffix.

        Args:
            has_dots: Whether ids have dots. Where neither they nor the pattern have one, similar names have none.

        Example:
            >>> parse_template("{id}/eeg/{id}-raw.csv", fields={"id"}).alike()
            '[^/]+/eeg/[^/]*\\.csv'
            >>> parse_template("{id}/{id}_bold.nii.gz", fields={"id"}).alike()
            '[^/]+/[^/]*\\.nii\\.gz'
        """
        texts = []
        for variant in self.variants.values():
            *folders, name = variant.parts
            end = name[-1][1] if name and name[-1][0] == "text" else ""
            found = _SUFFIX.search(end)
            suffix = re.escape(found[0]) if found else ""
            parts = [
                re.escape(part[0][1]) if len(part) == 1 and part[0][0] == "text" else "[^/]+"
                for part in folders
            ]
            is_dotted = has_dots or any(kind == "text" and "." in value for kind, value in name)
            bare = r"[^/]*\.[^/]*" if is_dotted else "[^/.]+"
            texts.append("/".join([*parts, f"[^/]*{suffix}" if suffix else bare]))
        return "|".join(f"(?:{text})" for text in texts) if len(texts) > 1 else texts[0]

    @property
    def text_end(self) -> str:
        """The literal text at the end of its paths."""
        kind, value = self.tokens[-1]
        return value if kind == "text" else ""

    @cached_property
    def varies(self) -> tuple[bool, ...]:
        """For each part of its paths, whether it has a placeholder.

        Example:
            >>> parse_template("raw/{id}/a.csv", fields={"id"}).varies
            (False, True, False)
        """
        return tuple(any(kind != "text" for kind, _ in part) for part in self.parts)

    def folders(self) -> Iterator["Template"]:
        """The patterns of the folders around its paths, the outermost first.

        Example:
            >>> [one.text for one in parse_template("raw/{id}/eeg/{id}.csv", fields={"id"}).folders()]
            ['raw', 'raw/{id}', 'raw/{id}/eeg']
        """
        for depth in range(1, self.depth):
            yield Template(path_of(self.parts[:depth]))

    def format(self, values: Mapping[str, str]) -> str:
        """Fill the pattern for one record.

        Raises:
            PatternError: When these values give no path: a field that it needs has no value, or a part of the path
                is empty, `.` or `..`.

        Example:
            >>> parse_template("raw/{id}.csv", fields={"id"}).format({"id": "A"})
            'raw/A.csv'
        """
        tokens = self._variant(values).tokens
        if self.is_wild:
            raise PatternError(f"the pattern {self.text!r} names many files, and no single path")
        path = "".join(value if kind == "text" else values[value] for kind, value in tokens)
        if self.has_bare_parts and not _NOWHERE.isdisjoint(path.split("/")):
            raise PatternError(
                f"the pattern {self.text!r} would be {path!r}, which names no file of a dataset"
            )
        return path

    def _variant(self, values: Mapping[str, str]) -> "Template":
        """The pattern without optional fields that these values fill."""
        lacking = sorted(name for name in self.needed if not values[name])
        if lacking:
            raise PatternError(
                f"the pattern {self.text!r} needs {{{lacking[0]}}}, and this id has no value for it",
                f"Write {{{lacking[0]}?}} where a path may lack it.",
            )
        variant = self.variants.get(frozenset(name for name in self.optional if not values[name]))
        if variant is None:
            raise PatternError(f"the pattern {self.text!r} names no file of a dataset for this id")
        return variant

    def filled(self, values: Mapping[str, str]) -> "Template":
        """The pattern of one record: only its wildcards are left.

        Raises:
            PatternError: As `format`.

        Example:
            >>> parse_template("raw/{id}/*.png", fields={"id"}, wildcards=True).filled({"id": "A"}).text
            'raw/A/*.png'
        """
        return self._variant(values).bind(values)

    def bind(self, values: Mapping[str, str]) -> "Template":
        """Replace some placeholders by literal text, such as the task and the modality of a unit.

        Example:
            >>> parse_template("{task}/{id}", fields={"id", "task"}).bind({"task": "RS"}).text
            'RS/{id}'
        """
        bound = (
            ("text", values[value]) if kind in ("field", "optional") and value in values else (kind, value)
            for kind, value in self.tokens
        )
        return Template(joined(bound), self.is_directory)


def parse_template(value: object, *, fields: Collection[str], wildcards: bool = False) -> Template:
    r"""Parse one pattern.

    Args:
        value: A `/`-joined string, or a tuple or list of its parts.
        fields: The placeholder names that are allowed: `id`, the groups of the id pattern, in scoped mode
            `task` and `modality`.
        wildcards: Whether `*` and `**` are wildcards, as in an input; else they are refused. `\*` is a star.

    Raises:
        PatternError: When a placeholder is unknown, a brace has no partner, the path leaves the dataset, or a `*`
            is not allowed.
    """
    if isinstance(value, (tuple, list)) and all(isinstance(part, str) for part in value):
        text = "/".join(value)
    elif isinstance(value, str):
        text = value
    else:
        raise PatternError(
            f"a path pattern is a string or a tuple of strings, not {type(value).__name__} ({value!r:.60})"
        )
    is_directory = text.endswith("/")
    text = text.rstrip("/") if is_directory else text
    parts = text.split("/")
    if text == "":
        raise PatternError("a path pattern is empty")
    if text.startswith("/") or ".." in parts:
        raise PatternError(f"{text!r} leaves the dataset: patterns are relative to it and hold no '..'")
    if "\0" in text:
        raise PatternError(f"{text!r} holds a zero byte, which no path can")
    text = "/".join(part for part in parts if part not in ("", "."))
    tokens = tuple(token for word in _tokens(text, fields) for token in _split_stars(*word))
    template = Template(joined(tokens), is_directory)
    if template.is_wild and not wildcards:
        raise PatternError(
            f"{text!r} has a '*', and only an input may name many files",
            "Name each file, or make a folder; write \\* for a literal star.",
        )
    if len(template.optional) > _MOST_OPTIONAL:
        raise PatternError(f"{text!r} has more than {_MOST_OPTIONAL} optional fields")
    return template


def _tokens(text: str, fields: Collection[str]) -> Iterator[tuple[str, str]]:
    """Split a pattern; a name in braces that is no placeholder is an error, other braces are literal."""
    end = 0
    for match in _FIELD.finditer(text):
        name, is_optional = match[1].removesuffix("?"), match[1].endswith("?")
        if name not in fields:
            if not name.isidentifier():
                continue
            raise PatternError(
                f"unknown placeholder {{{name}}} in {text!r}{did_you_mean(name, fields)}",
                "Known here: " + ", ".join(f"{{{field}}}" for field in sorted(fields)) + ".",
            )
        if is_optional and name in RESERVED:
            raise PatternError(
                f"{{{name}?}} in {text!r}: only a named group of id_pattern can be optional",
                f"Write {{{name}}}.",
            )
        if match.start() > end:
            yield "text", text[end : match.start()]
        yield "optional" if is_optional else "field", name
        end = match.end()
    if end < len(text):
        yield "text", text[end:]


def _split_stars(kind: str, value: str) -> Iterator[tuple[str, str]]:
    """The wildcards of a literal text, and the texts between them."""
    if kind != "text" or "*" not in value:
        yield kind, value
        return
    end = 0
    for match in _STARS.finditer(value):
        yield "text", value[end : match.start()]
        if match[1]:
            yield "text", "*"
        else:
            yield ("any", "*") if len(match[2]) == 1 else ("deep", "**")
        end = match.end()
    yield "text", value[end:]


def by_label(value: Any) -> list[tuple[str | None, Any]]:
    """What a step declares for one role, by label; the label of a single input or pattern is None."""
    if value is None or (isinstance(value, (tuple, list, Mapping)) and not value):
        return []
    if isinstance(value, Mapping) and not is_table(value):
        return [(str(label), item) for label, item in value.items()]
    return [(None, value)]


def is_table(value: object) -> bool:
    """Whether a mapping is one input, as a config writes it, and not a dict of inputs by label.

    Example:
        >>> is_table({"path": "a/{id}", "optional": True}), is_table({"path": "a/{id}"})
        (True, False)
    """
    return isinstance(value, Mapping) and (
        ("any_of" in value and not isinstance(value["any_of"], (str, Mapping)))
        or isinstance(value.get("optional"), bool)
    )


def parse_labelled(value: object, *, fields: Collection[str]) -> tuple[tuple[str | None, Template], ...]:
    """Parse `PATH_IN`, `PATH_OUT` or `PATH_CONTROL`: one pattern (label None) or a dict of patterns by label.

    Example:
        >>> [(label, one.text) for label, one in parse_labelled({"a": "x/{id}"}, fields={"id"})]
        [('a', 'x/{id}')]
    """
    return tuple((label, parse_template(item, fields=fields)) for label, item in by_label(value))


def tokens_regex(
    tokens: Iterable[tuple[str, str]], text: str = "[^/]+", kinds: Mapping[str, str] | None = None
) -> str:
    r"""Return a regular expression with a group for each placeholder; a repeated one has the same text everywhere.

    Args:
        tokens: The tokens of a pattern, or of a part of it.
        text: The expression of a placeholder's text.
        kinds: Other expressions of some placeholders.

    Example:
        >>> tokens_regex(parse_template("{id}/{id}.csv", fields={"id"}).tokens)
        '(?P<id>[^/]+)/(?P=id)\\.csv'
    """
    regex, seen = "", set[str]()
    for kind, value in tokens:
        if kind == "text":
            regex += re.escape(value)
        elif kind in WILD:
            regex += "[^/]*" if kind == "any" else ".*"
        else:
            inner = (kinds or {}).get(value, text)
            regex += f"(?P={value})" if value in seen else f"(?P<{value}>{inner})"
            seen.add(value)
    return regex
