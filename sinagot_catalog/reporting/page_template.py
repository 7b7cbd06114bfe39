"""Page templates: renders the templates that the report and the live page share; every value is escaped."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sinagot_catalog.config import duration_text, size_text

if TYPE_CHECKING:
    from jinja2 import Environment

_FOLDER = Path(__file__).parent / "templates"


def render(template: str, /, *, folder: Path = _FOLDER, **values: Any) -> str:
    """Return a template of a folder with its values as text; it may include those of the report."""
    return _environment(folder).get_template(template).render(**values)


def template_file(name: str, folder: Path = _FOLDER) -> str:
    """Return the text of a style sheet or a script of the page."""
    return (folder / name).read_text(encoding="utf-8")


@cache
def _environment(folder: Path) -> Environment:
    from jinja2 import Environment, FileSystemLoader

    environment = Environment(
        loader=FileSystemLoader([folder, _FOLDER]),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["many"] = lambda count: f"{count:,}"
    environment.filters["span"] = lambda seconds: (
        "" if seconds is None else duration_text(seconds, has_ms=True)
    )
    environment.filters["bytes"] = size_text
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "ensure_ascii": False}
    return environment
