"""The machine that measures, and where it keeps what it makes."""

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

__all__ = ["cache_folder", "machine", "moment"]


def cache_folder() -> Path:
    """Where workspaces and environments are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sinagot-catalog-benchmarks"


def machine() -> dict[str, Any]:
    """When and on what it is measured."""
    packages = ("sinagot-catalog", "polars", "pyarrow", "prefect", "fsspec")
    memory = os.sysconf("SC_PAGESIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, {memory:.0f} GiB",
        "versions": {"python": platform.python_version(), **{name: version(name) for name in packages}},
    }


def moment() -> dict[str, Any]:
    """The day, and how many processes ran or waited for a processor in the last minute, those measured included."""
    return {"day": f"{datetime.now(UTC):%Y-%m-%d}", "load": round(os.getloadavg()[0], 1)}
