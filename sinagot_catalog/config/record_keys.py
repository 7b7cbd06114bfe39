"""Key columns of a metadata table: finds, by name, the columns that match a row to a record.

Standard library only.
"""

from collections.abc import Sequence

from sinagot_catalog.startup import dataclass

_PERSON = ("sub", "subject", "participant")
_SESSION = ("ses", "session")


@dataclass(frozen=True)
class Match:
    """A pair of columns to match on: a column of a table and a column of the records.

    Attributes:
        column: The table's column.
        field: A field of the id, or `record_id`.
        prefix: Removed from both sides before they are compared, such as `sub-` of a participant.
    """

    column: str
    field: str
    prefix: str = ""


def find_matches(columns: Sequence[str], fields: Sequence[str], key: Sequence[str] = ()) -> tuple[Match, ...]:
    """Find the columns that match the rows of a table to records; empty if there are none.

    Args:
        columns: The columns of the table.
        fields: The fields of the id.
        key: Columns that the config names as the key.

    Example:
        >>> find_matches(["participant_id", "age"], ["sub", "ses"])
        (Match(column='participant_id', field='sub', prefix='sub-'),)
        >>> find_matches(["ses", "age", "sub"], ["sub", "ses"])
        (Match(column='sub', field='sub', prefix=''), Match(column='ses', field='ses', prefix=''))
    """
    if key:
        matches = [match_of(name, fields) for name in key]
        return tuple(match for match in matches if match is not None) if set(key) <= set(columns) else ()
    for name in ("record_id", "participant_id"):
        if name in columns:
            names = [name, "session_id"] if name == "participant_id" and "session_id" in columns else [name]
            matches = [match_of(column, fields) for column in names]
            return tuple(match for match in matches if match is not None)
    return tuple(Match(name, name) for name in fields if name in columns)


def match_of(column: str, fields: Sequence[str]) -> Match | None:
    """The match of a column: with the field of the same name, or by its meaning in BIDS; None for others."""
    if column in (*fields, "record_id"):
        return Match(column, column)
    if column == "participant_id":
        return Match(column, next((field for field in _PERSON if field in fields), "record_id"), "sub-")
    session = next((field for field in _SESSION if field in fields), None)
    return Match(column, session, "ses-") if column == "session_id" and session else None
