"""Group ids: the `record_id` of a row that stands for a group of records. Standard library only.

The id of a group holds the values of its fields: `sub=01,ses=02`. The group of all records is `dataset=all`.
"""

ALL_RECORDS = "dataset=all"
"""The id of the group of all records."""

ESCAPES = (("%", "%25"), (",", "%2C"), ("=", "%3D"))
"""The characters that a value escapes, and how; in this order."""


def group_values(text: str) -> dict[str, str]:
    """Return the values of the fields that the id of a group names.

    Example:
        >>> group_values("sub=01,ses=a%2Cb"), group_values("dataset=all")
        ({'sub': '01', 'ses': 'a,b'}, {})
    """
    if text == ALL_RECORDS:
        return {}
    parts = [part.partition("=") for part in text.split(",")]
    return {name: _plain(value) for name, _, value in parts}


def _plain(value: str) -> str:
    for char, code in reversed(ESCAPES):
        value = value.replace(code, char)
    return value
