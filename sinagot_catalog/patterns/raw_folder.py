"""Raw data folders: tells which files are raw data in a folder that steps also write to. Standard library only."""

import re
from collections.abc import Iterable, Mapping, Sequence

from sinagot_catalog.patterns.id_pattern import IdPattern
from sinagot_catalog.patterns.template import Template, tokens_regex


class RawFolder:
    """Distinguishes raw data from what steps declare, in a folder of one record.

    Args:
        template: The pattern of the folder.
        inside: The patterns of what steps declare in it.
        ids: The id pattern.
        values: The values of the placeholders for the record.

    Example:
        >>> from sinagot_catalog.patterns.template import parse_template
        >>> folder, made = (parse_template(one, fields={"id"}) for one in ("raw/{id}/", "raw/{id}/qc/a.txt"))
        >>> raw = RawFolder(folder, [made], IdPattern(r"R.+"), {"id": "R1"})
        >>> raw.has_own(["raw/R1/qc/a.txt"]), raw.has_own(["raw/R1/qc/b.txt"])
        (False, True)
    """

    def __init__(
        self, template: Template, inside: Sequence[Template], ids: IdPattern, values: Mapping[str, str]
    ) -> None:
        self._ids = ids
        self._depth = template.depths[0]
        known = values if ids.is_told_by(template) else {name: values[name] for name in template.fields}
        self._declared = [
            re.compile(tokens_regex(way.bind(known).tokens), re.DOTALL)
            for template in inside
            for way in template.variants.values()
        ]

    def is_declared(self, path: str) -> bool:
        """Whether a step declares a path."""
        return any(self._fits(regex, path) for regex in self._declared)

    def has_own(self, files: Iterable[str]) -> bool:
        """Whether the folder has a file of raw data: no step declares it or a folder around it."""
        return any(self.is_own(file) for file in files)

    def is_own(self, file: str) -> bool:
        """Whether a file is raw data: no step declares it or a folder around it."""
        parts = file.split("/")
        heads = ("/".join(parts[:count]) for count in range(self._depth + 1, len(parts) + 1))
        return not any(map(self.is_declared, heads))

    def _fits(self, regex: re.Pattern[str], path: str) -> bool:
        match = regex.fullmatch(path)
        if match is None:
            return False
        record_id = match.groupdict().get("id")
        return record_id is None or self._ids.values(record_id) is not None
