"""Listing a bucket quickly."""

from typing import Any

__all__ = ["list_keys"]


def list_keys(root: str, prefix: str, options: dict[str, Any]) -> Any:  # noqa: ARG001
    """For now: nothing."""
    return None
