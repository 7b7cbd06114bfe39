"""The id pattern: the regular expression of record ids, and the fields of an id. Standard library only."""

import re
import warnings
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from sinagot_catalog.errors import PatternError
from sinagot_catalog.patterns.fields import (
    IdForm,
    can_hold_slash,
    fault_of,
    id_form,
    may_hold,
    parse_regex,
    trees_of,
)
from sinagot_catalog.patterns.group_ids import group_values
from sinagot_catalog.patterns.template import RESERVED, Template

_SPECIAL = frozenset({".", ".."})


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
            raise PatternError(f"'{text}' is not a regular expression: {error.msg}{where}") from error
        self.text = text
        self.groups: tuple[str, ...] = tuple(self.regex.groupindex)
        self._names = RESERVED.union(self.groups)
        reserved = RESERVED & set(self.groups)
        if reserved:
            name = min(reserved)
            raise PatternError(
                f"{text!r} names a group {name!r}, which is a column of every table",
                f"Give the group another name, such as '{name}_name'.",
            )
        if ("/" in text or "\\" in text) and can_hold_slash(parse_regex(text)):
            raise PatternError(f"'{text}' can match a '/', and an id does not span folders", _as_fields(text))

    def values(self, record_id: str) -> dict[str, str] | None:
        """The values of the placeholders for this id, or None if the id does not fit."""
        if fault_of(record_id) is not None:
            return None
        match = self.regex.fullmatch(record_id)
        if match is None:
            return None
        if not self.groups:
            return {"id": record_id}
        values = {"id": record_id, **{name: text or "" for name, text in match.groupdict().items()}}
        return None if "." in record_id and not _SPECIAL.isdisjoint(values.values()) else values

    def refusal(self, record_id: str) -> str:
        r"""Why a text is not a record id, as the text that follows the id in a message.

        Example:
            >>> IdPattern(r"(?P<site>[^_]+)_\d+").refusal(".._1")
            "cannot be a record: its field site is '..'"
        """
        fault = fault_of(record_id)
        if fault is not None:
            return f"does not fit id_pattern '{self.text}': the id {fault}"
        # An id that has no dot has no such field; matching it could take for ever.
        match = self.regex.fullmatch(record_id) if self.groups and "." in record_id else None
        if match is None:
            return f"does not fit id_pattern '{self.text}'"
        name, text = next((item for item in match.groupdict().items() if item[1] in _SPECIAL), ("", ""))
        return f"cannot be a record: its field {name} {fault_of(text)}"

    @cached_property
    def form(self) -> IdForm | str:
        """How an id is written from its fields, or the reason why it cannot be."""
        return id_form(self.text)

    @cached_property
    def _trees(self) -> dict[str, Any]:
        return trees_of(self.text)

    def width_of(self, name: str) -> int | None:
        """The number of characters of each value of `id` or a field if it is fixed, else None."""
        least, most = self._trees[name].getwidth() if name in self._trees else (0, None)
        return int(least) if least == most else None

    def may_hold(self, name: str, char: str) -> bool:
        """Whether a value of `id` or a field may contain a character."""
        return name not in self._trees or may_hold(self._trees[name], char)

    def is_told_by(self, template: Template) -> bool:
        r"""Whether the paths of a pattern determine the record: it has `{id}`, or all fields that form an id.

        Example:
            >>> from sinagot_catalog.patterns.template import parse_template
            >>> ids = IdPattern(r"(?P<mouse>m\d)_(?P<day>\d+)")
            >>> one = parse_template("{mouse}/{day}.csv", fields=ids.groups)
            >>> ids.is_told_by(one), ids.is_told_by(next(one.folders()))
            (True, False)
        """
        if not template.fields <= self._names:
            return False  # a metadata column: its value is in no path that is listed
        if "id" in template.fields:
            return True
        form = self.form
        return not isinstance(form, str) and bool(form.fields) and form.fields <= template.fields

    def known_values(self, record_id: str) -> dict[str, str] | None:
        """As `values`, for an id that is known to fit: without named groups nothing is matched again."""
        return {"id": record_id} if not self.groups and is_safe_id(record_id) else self.values(record_id)

    def values_of(self, row_id: str, by: Sequence[str] | None) -> dict[str, str] | None:
        r"""The values of the placeholders for the row of a record or a group; None if a record's id does not fit.

        Args:
            row_id: The id of a record or a group.
            by: The fields of the groups; None for a record.

        Example:
            >>> IdPattern(r"(?P<sub>\d+)_(?P<ses>\d+)").values_of("sub=1", ["sub", "ses"])
            {'id': 'sub=1', 'sub': '1', 'ses': ''}
        """
        if by is None:
            return self.known_values(row_id)
        named = group_values(row_id)
        return {"id": row_id, **{name: named.get(name, "") for name in by}}

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
