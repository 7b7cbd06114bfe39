"""Path templates: parses, fills and binds one path pattern. Standard library only: workers use it."""

import re
import warnings
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from sinagot_catalog.errors import PatternError, did_you_mean
from sinagot_catalog.patterns.fields import (
    Field,
    IdForm,
    can_hold_slash,
    fault_of,
    fields_of,
    id_form,
    parse_regex,
    variants,
)

__all__ = ["STAR", "IdPattern", "Template", "parse_labelled", "parse_template"]

STAR = "a '*' in a pattern is that very character: wildcards are not supported yet"
_FIELD = re.compile(r"\{([^{}/]*)\}")
_NOWHERE = frozenset({"", ".", ".."})
"""Names that are not names of a child of a folder."""
_RESERVED = frozenset({"id", "record_id", "task", "modality"})
_MOST_OPTIONAL = 6
_SPECIAL = frozenset({".", ".."})
_SUFFIX = re.compile(r"(?:\.\w+)?\.(?:gz|bz2|xz|zst)$|\.[^.]*$")
_MARKS = {"text": "{0}", "field": "{{{0}}}", "optional": "{{{0}?}}"}


@dataclass(frozen=True)
class Template:
    """A path below the dataset with placeholders for the id and its fields.

    Attributes:
        tokens: `("text", literal)`, `("field", name)` and `("optional", name)` in order; two texts are never
            adjacent.
        is_directory: A final slash in the pattern requires a directory.
    """

    tokens: tuple[tuple[str, str], ...]
    is_directory: bool = False

    @cached_property
    def text(self) -> str:
        """The pattern as one `/`-joined string, without the final slash."""
        return "".join(_MARKS[kind].format(value) for kind, value in self.tokens)

    @cached_property
    def fields(self) -> frozenset[str]:
        """The names of its placeholders, including optional ones."""
        return frozenset(value for kind, value in self.tokens if kind != "text")

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
                literal = "".join(value for kind, value in part if kind == "text")
                if literal in _NOWHERE and (literal or len(part) != 1):
                    return True
        return False

    @cached_property
    def parts(self) -> list[tuple[tuple[str, str], ...]]:
        """The tokens of each part of its paths.

        Example:
            >>> parse_template("raw/{id}.csv", fields={"id"}).parts
            [(('text', 'raw'),), (('field', 'id'), ('text', '.csv'))]
        """
        parts: list[list[tuple[str, str]]] = [[]]
        for kind, value in self.tokens:
            first, *others = value.split("/") if kind == "text" else [value]
            parts[-1].append((kind, first))
            parts.extend([(kind, other)] for other in others)
        return [tuple(token for token in part if token[1]) for part in parts]

    @cached_property
    def prefix(self) -> str:
        """The longest literal folder of all its paths, `""` or ending in `/`."""
        if self.optional:
            return min((one.prefix for one in self.variants.values()), key=len)
        head = self.tokens[0][1] if self.tokens[0][0] == "text" else ""
        return head[: head.rfind("/") + 1]

    @cached_property
    def depth(self) -> int:
        """The number of parts of its paths, if no field is left out."""
        return self.text.count("/") + 1

    @cached_property
    def depths(self) -> tuple[int, ...]:
        """The numbers of parts that its paths can have: an optional field without a value may drop a folder.

        Example:
            >>> parse_template("sub-{sub}/ses-{ses?}/eeg", fields={"sub", "ses"}).depths
            (2, 3)
        """
        return tuple(sorted({one.depth for one in self.variants.values()}))

    @cached_property
    def parted(self) -> tuple[tuple[tuple[str, str], ...], tuple[tuple[str, str], ...]]:
        """The tokens of the folder of its paths, without the last slash, and the tokens of their names.

        Example:
            >>> parse_template("raw/{id}.csv", fields={"id"}).parted
            ((('text', 'raw'),), (('field', 'id'), ('text', '.csv')))
        """
        for place in reversed(range(len(self.tokens))):
            kind, value = self.tokens[place]
            if kind == "text" and "/" in value:
                left, _, right = value.rpartition("/")
                folder = (*self.tokens[:place], *((("text", left),) if left else ()))
                return folder, (*((("text", right),) if right else ()), *self.tokens[place + 1 :])
        return (), self.tokens

    @cached_property
    def alike(self) -> str:
        r"""A regular expression of similar paths: the same literal folders and the same suffix.

        Example:
            >>> parse_template("{id}/eeg/{id}-raw.csv", fields={"id"}).alike
            '[^/]+/eeg/[^/]*\\.csv'
            >>> parse_template("{id}/{id}_bold.nii.gz", fields={"id"}).alike
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
            texts.append("/".join([*parts, f"[^/]*{suffix}" if suffix else "[^/.]+"]))
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
        text = "".join(value if kind == "text" else "\0" for kind, value in self.tokens)
        return tuple("\0" in part for part in text.split("/"))

    def folders(self) -> Iterator["Template"]:
        """The patterns of the folders around its paths, the outermost first.

        Example:
            >>> [one.text for one in parse_template("raw/{id}/eeg/{id}.csv", fields={"id"}).folders()]
            ['raw', 'raw/{id}', 'raw/{id}/eeg']
        """
        for place, (kind, value) in enumerate(self.tokens):
            for cut, letter in enumerate(value):
                if kind == "text" and letter == "/":
                    yield Template(self.tokens[:place] + ((("text", value[:cut]),) if cut else ()))

    def format(self, values: Mapping[str, str]) -> str:
        """Fill the pattern for one record.

        Raises:
            PatternError: When these values give no path: a field that it needs has no value, or a part of the path
                is empty, `.` or `..`.

        Example:
            >>> parse_template("raw/{id}.csv", fields={"id"}).format({"id": "A"})
            'raw/A.csv'
        """
        lacking = sorted(name for name in self.needed if not values[name])
        if lacking:
            raise PatternError(
                f"the pattern {self.text!r} needs {{{lacking[0]}}}, and this id has no value for it",
                f"Write {{{lacking[0]}?}} where a path may lack it.",
            )
        absent = frozenset(name for name in self.optional if not values[name])
        variant = self.variants.get(absent)
        tokens = () if variant is None else variant.tokens
        path = "".join(value if kind == "text" else values[value] for kind, value in tokens)
        if self.has_bare_parts and not _NOWHERE.isdisjoint(path.split("/")):
            raise PatternError(
                f"the pattern {self.text!r} would be {path!r}, which names no file of a dataset"
            )
        return path

    def bind(self, values: Mapping[str, str | None]) -> "Template":
        """Replace some placeholders by literal text, such as the task and the modality of a unit.

        Example:
            >>> parse_template("{task}/{id}", fields={"id", "task"}).bind({"task": "RS"}).text
            'RS/{id}'
        """
        tokens: list[tuple[str, str]] = []
        for kind, value in self.tokens:
            bound = value if kind == "text" else values.get(value)
            token = ("text", bound) if bound is not None else (kind, value)
            if tokens and tokens[-1][0] == token[0] == "text":
                tokens[-1] = ("text", tokens[-1][1] + token[1])
            else:
                tokens.append(token)
        return Template(tuple(tokens), self.is_directory)


def parse_template(value: object, *, fields: Collection[str]) -> Template:
    """Parse one pattern.

    Args:
        value: A `/`-joined string, or a tuple or list of its parts.
        fields: The placeholder names that are allowed: `id`, the groups of the id pattern, in scoped mode
            `task` and `modality`.

    Raises:
        PatternError: When a placeholder is unknown, a brace has no partner, or the path leaves the dataset.
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
    template = Template(tuple(_tokens(text, fields)), is_directory)
    if len(template.optional) > _MOST_OPTIONAL:
        raise PatternError(f"{text!r} has more than {_MOST_OPTIONAL} optional fields")
    return template


def _tokens(text: str, fields: Collection[str]) -> Iterator[tuple[str, str]]:
    """Split a pattern; a name in braces that is no placeholder is an error, other braces are literal."""
    end = 0
    for found in _FIELD.finditer(text):
        name, is_optional = found[1].removesuffix("?"), found[1].endswith("?")
        if name not in fields:
            if not name.isidentifier():
                continue
            raise PatternError(
                f"unknown placeholder {{{name}}} in {text!r}{did_you_mean(name, fields)}",
                "Known here: " + ", ".join(f"{{{field}}}" for field in sorted(fields)) + ".",
            )
        if is_optional and name in _RESERVED:
            raise PatternError(
                f"{{{name}?}} in {text!r}: only a named group of id_pattern can be optional",
                f"Write {{{name}}}.",
            )
        if found.start() > end:
            yield "text", text[end : found.start()]
        yield "optional" if is_optional else "field", name
        end = found.end()
    if end < len(text):
        yield "text", text[end:]


def parse_labelled(value: object, *, fields: Collection[str]) -> tuple[tuple[str | None, Template], ...]:
    """Parse `PATH_IN`, `PATH_OUT` or `PATH_CONTROL`: one pattern (label None) or a dict of patterns by label.

    Example:
        >>> [(label, one.text) for label, one in parse_labelled({"a": "x/{id}"}, fields={"id"})]
        [('a', 'x/{id}')]
    """
    if value is None or (isinstance(value, (tuple, list, Mapping)) and not value):
        return ()
    if isinstance(value, Mapping):
        return tuple((str(label), parse_template(one, fields=fields)) for label, one in value.items())
    return ((None, parse_template(value, fields=fields)),)


class IdPattern:
    r"""The regular expression of record ids, with Python's meaning.

    An id stays within one part of a path: `.+` does not match `/`. Its named groups are the fields of an id. A
    field whose group did not match, or matched the empty text, has no value: `""`.

    Args:
        text: A pattern for `re.fullmatch`; its named groups are placeholders and columns.

    Raises:
        PatternError: When `re` cannot compile it, or when it asks for a `/`.

    Example:
        >>> IdPattern(r"(?P<site>[A-Z]+)-\d+").values("REC-7")
        {'id': 'REC-7', 'site': 'REC'}
    """

    def __init__(self, text: str) -> None:
        try:
            with warnings.catch_warnings():
                # Python may make `[a&&b]` a set operation in a later version; today it is three characters.
                warnings.simplefilter("ignore", FutureWarning)
                self.regex = re.compile(text)
        except re.error as error:
            where = f" at character {error.pos}" if error.pos is not None else ""
            raise PatternError(f"{text!r} is not a regular expression: {error.msg}{where}") from error
        self.text = text
        self.groups: tuple[str, ...] = tuple(self.regex.groupindex)
        reserved = _RESERVED & set(self.groups)
        if reserved:
            raise PatternError(f"{text!r} names a group {min(reserved)!r}, which is a name of ours")
        if ("/" in text or "\\" in text) and can_hold_slash(parse_regex(text)):
            raise PatternError(f"'{text}' can match a '/', and an id does not span folders", _as_fields(text))

    def values(self, record_id: str) -> dict[str, str] | None:
        """The values of the placeholders for this id, or None if the id does not fit."""
        if fault_of(record_id) is not None:
            return None
        found = self.regex.fullmatch(record_id)
        if found is None:
            return None
        if not self.groups:
            return {"id": record_id}
        values = {"id": record_id, **{name: text or "" for name, text in found.groupdict().items()}}
        return None if "." in record_id and not _SPECIAL.isdisjoint(values.values()) else values

    def refusal(self, record_id: str) -> str:
        r"""Why a text is no record id, as the text that follows the id in a message.

        Example:
            >>> IdPattern(r"(?P<site>[^_]+)_\d+").refusal(".._1")
            "cannot be a record: its field site is '..'"
        """
        fault = fault_of(record_id)
        if fault is not None:
            return f"does not fit id_pattern '{self.text}': the id {fault}"
        # An id that has no dot has no such field; matching it could take for ever.
        found = self.regex.fullmatch(record_id) if self.groups and "." in record_id else None
        if found is None:
            return f"does not fit id_pattern '{self.text}'"
        name, text = next((one for one in found.groupdict().items() if one[1] in _SPECIAL), ("", ""))
        return f"cannot be a record: its field {name} {fault_of(text)}"

    @cached_property
    def form(self) -> IdForm | str:
        """How an id is written from its fields, or the reason why it cannot be."""
        return id_form(self.text)

    @cached_property
    def fields(self) -> dict[str, Field]:
        """The known properties of the values of each field."""
        return fields_of(self.text)

    def is_told_by(self, template: Template) -> bool:
        r"""Whether the paths of a pattern determine the record: it has `{id}`, or all fields that form an id.

        Example:
            >>> ids = IdPattern(r"(?P<mouse>m\d)_(?P<day>\d+)")
            >>> one = parse_template("{mouse}/{day}.csv", fields=ids.groups)
            >>> ids.is_told_by(one), ids.is_told_by(next(one.folders()))
            (True, False)
        """
        if "id" in template.fields:
            return True
        return bool(
            self.groups
            and not isinstance(self.form, str)
            and self.form.fields
            and self.form.fields <= template.fields
        )

    def known_values(self, record_id: str) -> dict[str, str] | None:
        """As `values`, for an id that is known to fit: without named groups nothing is matched again."""
        return {"id": record_id} if not self.groups and is_safe_id(record_id) else self.values(record_id)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, IdPattern) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __reduce__(self) -> tuple[type["IdPattern"], tuple[str]]:
        return IdPattern, (self.text,)

    def __repr__(self) -> str:
        return f"IdPattern({self.text!r})"


def _as_fields(text: str) -> str:
    """How to write an id pattern over folders: a field for each of its parts."""
    parts, names = text.split("/"), []
    try:
        for number, part in enumerate(parts, start=1):
            own = list(re.compile(part).groupindex)
            is_field = len(own) == 1 and part.startswith(f"(?P<{own[0]}>") and part.endswith(")")
            name = own[0] if is_field else f"part{number}"
            names.append(name)
            parts[number - 1] = part if is_field else f"(?P<{name}>{part})"
        is_plain = len(parts) > 1 and not can_hold_slash(parse_regex("_".join(parts)))
    except re.error:
        is_plain = False
    if not is_plain:
        parts, names = ["(?P<a>…)", "(?P<b>…)"], ["a", "b"]
    folders = "/".join(f"{{{name}}}" for name in names)
    return f"Name the part of each folder: id_pattern = '{'_'.join(parts)}', and {folders} in the patterns."


def is_safe_id(record_id: str) -> bool:
    """Whether an id can be part of a path without leaving its folder.

    Example:
        >>> is_safe_id("REC-1"), is_safe_id("../../x"), is_safe_id("")
        (True, False, False)
    """
    return fault_of(record_id) is None
