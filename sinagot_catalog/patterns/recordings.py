"""Recordings: tells to which record a path of raw data belongs. Standard library only."""

import re
from collections.abc import Iterable, Iterator
from typing import TypeAlias

from sinagot_catalog.patterns.id_pattern import IdPattern
from sinagot_catalog.patterns.template import Template, tokens_regex
from sinagot_catalog.patterns.wildcards import reductions

_Way: TypeAlias = tuple[re.Pattern[str], re.Pattern[str] | None]
"""What whole paths match; and what their groups match, joined by `/`, if the pattern has wildcards."""


class Recordings:
    """The raw data that make records: a new path of them is a new recording.

    Args:
        templates: The patterns of raw data that name their record.
        ids: The id pattern.

    Example:
        >>> from sinagot_catalog.patterns.template import parse_template
        >>> patterns = [parse_template(text, fields={"id"}) for text in ("raw/{id}.csv", "days/{id}/")]
        >>> recordings = Recordings(patterns, IdPattern(r"R[0-9]"))
        >>> [recordings.record_of(path) for path in ("raw/R1.csv", "days/R2/a/b.txt", "days/R2", "raw/notes.csv")]
        ['R1', 'R2', None, None]
    """

    def __init__(self, templates: Iterable[Template], ids: IdPattern) -> None:
        self._ids = ids
        self._of_files: list[_Way] = []
        self._of_folders: list[_Way] = []
        for template in templates:
            ways = list(_ways(template, ids))
            if not template.is_directory:
                self._of_files += ways
            if template.is_directory or not template.is_wild:
                self._of_folders += ways

    def record_of(self, path: str) -> str | None:
        """The record whose raw data a file is, or lies in; None if it is no raw data."""
        parts = path.split("/")
        for count in range(len(parts), 0, -1):
            for whole, reduced in self._of_files if count == len(parts) else self._of_folders:
                match = whole.fullmatch("/".join(parts[:count]))
                if match is not None and reduced is not None:
                    match = reduced.fullmatch("/".join(match.groups()))
                if match is not None:
                    record_id = self._record(match.groupdict())
                    if record_id is not None:
                        return record_id
        return None

    def _record(self, fields: dict[str, str]) -> str | None:
        """The id with these fields; None if there is no such id."""
        form = self._ids.form
        record_id = fields["id"] if "id" in fields or isinstance(form, str) else form.write(fields)
        values = self._ids.values(record_id)
        return record_id if values is not None and fields.items() <= values.items() else None


def _ways(template: Template, ids: IdPattern) -> Iterator[_Way]:
    """What the paths of a pattern match, with and without its optional fields."""
    if template.is_wild:
        for way in reductions(template, ids).values():
            yield re.compile(way.regex), re.compile(tokens_regex(way.reduced.tokens))
    else:
        for variant in template.variants.values():
            yield re.compile(tokens_regex(variant.tokens)), None
