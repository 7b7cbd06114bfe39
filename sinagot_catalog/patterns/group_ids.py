"""Group ids: the `record_id` of a row that stands for a group of records. Standard library only.

The id of a group holds the values of its fields: `sub=01,ses=02`. The group of all records is `dataset=all`.
"""

from collections.abc import Mapping, Sequence

ALL_RECORDS = "dataset=all"
"""The id of the group of all records."""

ESCAPES = (("%", "%25"), (",", "%2C"), ("=", "%3D"))
"""The characters that a value escapes, and how; in this order."""


def group_id(by: Sequence[str], values: Mapping[str, str]) -> str:
    """Return the id of a group; a field without a value is left out.

    Args:
        by: The fields of the groups, in order.
        values: The values of the fields.

    Example:
        >>> group_id(["sub", "ses"], {"sub": "01", "ses": "a,b"}), group_id([], {})
        ('sub=01,ses=a%2Cb', 'dataset=all')
        >>> group_id(["sub", "ses"], {"sub": "01", "ses": ""})
        'sub=01'
    """
    if not by:
        return ALL_RECORDS
    parts = [f"{name}={_escaped(values[name])}" for name in by if values[name]]
    return ",".join(parts) or f"{by[0]}="


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


def _escaped(value: str) -> str:
    for char, code in ESCAPES:
        value = value.replace(char, code)
    return value


def _plain(value: str) -> str:
    for char, code in reversed(ESCAPES):
        value = value.replace(code, char)
    return value
