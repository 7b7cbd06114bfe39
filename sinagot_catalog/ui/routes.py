"""Routes: the addresses of the live page, and what each answers."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias
from urllib.parse import quote

import polars as pl
from fastapi import Body, Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.exceptions import HTTPException

from sinagot_catalog.catalog import exclude, include, missing_line
from sinagot_catalog.errors import NotFoundError, SinagotError, UsageError
from sinagot_catalog.reporting import Page, ReportRows, equals, picture_type, render, template_file
from sinagot_catalog.schema import KEYS
from sinagot_catalog.secrets import masked
from sinagot_catalog.ui.access import FILE_POLICY
from sinagot_catalog.ui.linked_files import LinkedFiles
from sinagot_catalog.ui.pages import RowPage, RowsPage, both, row_url, rows_url

if TYPE_CHECKING:
    from collections.abc import Callable

    from sinagot_catalog.catalog import Query, Session
    from sinagot_catalog.ui.live_workspace import LiveWorkspace, Look

_TEMPLATES = Path(__file__).parent / "templates"
_MOST_ROWS = 10_000
_MOST_DRAWN = 8
"""Number of rendered overviews that are cached."""
NOT_FOUND = 404
_READERS = 4
"""Number of files that are read at a time: each may fill the bound of a file."""


@dataclass
class RowKey:
    """The key of a row that a POST names; without a step, of a whole record."""

    record_id: str
    task: str | None = None
    modality: str | None = None
    step: str | None = None


def _key(
    record_id: str, step: str, task: str | None = None, modality: str | None = None
) -> dict[str, str | None]:
    return {"record_id": record_id, "task": task, "modality": modality, "step": step}


Key: TypeAlias = Annotated[dict[str, str | None], Depends(_key)]
Rows: TypeAlias = Annotated[list[RowKey], Body(min_length=1, max_length=_MOST_ROWS, embed=True)]


class Routes:
    """The routes.

    Args:
        live: The workspace.
        read_only: Whether nothing can be changed.
    """

    def __init__(self, live: LiveWorkspace, *, read_only: bool) -> None:
        self._live = live
        self._read_only = read_only
        self._readers = threading.BoundedSemaphore(_READERS)
        self._writing = threading.Lock()
        self._keeping = threading.Lock()
        self._drawn: dict[tuple[str, str], str] = {}
        self.app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
        for path, route in (
            ("/", self.overview), ("/rows", self.rows), ("/row", self.row), ("/file", self.file),
            ("/version", self.version),
        ):  # fmt: skip
            self.app.get(path, response_model=None)(route)
        self.app.get("/page.css")(partial(_asset, template_file("page.css"), "text/css"))
        self.app.get("/ui.js")(partial(_asset, template_file("ui.js", _TEMPLATES), "text/javascript"))
        self.app.post("/exclude", response_model=None)(self.exclude)
        self.app.post("/include", response_model=None)(self.include)
        self.app.exception_handler(SinagotError)(self._problem)
        for kind in (RequestValidationError, HTTPException):
            self.app.exception_handler(kind)(self._invalid)
        self.app.exception_handler(Exception)(_unexpected)

    # --- pages -------------------------------------------------------------------------------------------

    def overview(self, request: Request, where: str = "") -> Response:
        """Show what the report shows, but for its table of rows."""
        look = self._live.look
        return self._page(
            request,
            look,
            "overview.html",
            active="overview",
            where=where,
            overview=self._overview(look, where),
        )

    def _overview(self, look: Look, where: str) -> str:
        """Render the overview, or return it from the cache."""
        key = (look.version, where)
        text = self._drawn.get(key)
        if text is None:
            chosen = look.rows(where).select(*KEYS) if where else None
            page = Page(look.source, ReportRows(look.source.catalog(), chosen), where or None, is_live=True)
            ids, n = page.rows.ids, page.n_bins
            edges = [-(-k * len(ids) // n) for k in range(n + 1)] if n else [0]
            bins = [(ids[first], ids[end - 1]) for first, end in pairwise(edges)]
            text = render(
                "live_sections.html", folder=_TEMPLATES, page=page, live=True, rows_url=rows_url,
                row_url=row_url, both=both, equals=equals, bins={"bins": bins, "where": where},
            )  # fmt: skip
            with self._keeping:  # each request has a thread of its own
                self._drawn[key] = text
                while len(self._drawn) > _MOST_DRAWN:
                    self._drawn.pop(next(iter(self._drawn)))
        return text

    def rows(
        self, request: Request, where: str = "", sort: str = "", down: str = "", page: str = "1"
    ) -> Response:
        """Show the rows that fit a filter."""
        look = self._live.look
        number = int(page) if page.isdecimal() and len(page) < 10 else 1  # noqa: PLR2004 - digits
        shown = RowsPage(look, where, sort, number, is_down=bool(down))
        return self._page(request, look, "rows.html", active="rows", where=where, page=shown)

    def row(self, request: Request, key: Key) -> Response:
        """Show one row."""
        look = self._live.look
        return self._page(request, look, "row.html", active="rows", page=RowPage(look, key))

    def version(self) -> dict[str, str]:
        """Return a text that changes when the pages do."""
        return {"version": self._live.version}

    def file(self, key: Key, n: int, inside: int | None = None) -> Response:
        """Send a file that a row reads or writes."""
        files = LinkedFiles(self._live.look.source, key)
        linked_file = files.find(n, inside)
        with self._readers:
            content = files.content(linked_file)
        kind = picture_type(content)
        name = quote(linked_file.name, safe="")
        headers = {
            "content-security-policy": FILE_POLICY,
            "content-disposition": f"{'inline' if kind else 'attachment'}; filename*=UTF-8''{name}",
        }
        return Response(content, media_type=kind or "application/octet-stream", headers=headers)

    # --- decisions ---------------------------------------------------------------------------------------

    def exclude(self, rows: Rows, reason: Annotated[str, Body()] = "") -> Response:
        """Exclude rows, or whole records where no step is named."""
        if not reason.strip():
            raise UsageError("a reason is missing", "Say why, in a few words.")
        return self._decide(rows, lambda source, query: exclude(source, query, reason))

    def include(self, rows: Rows) -> Response:
        """Take rows back, or whole records where no step is named."""
        return self._decide(rows, include)

    def _decide(self, named: Rows, change: Callable[[Session, Query], pl.DataFrame]) -> Response:
        """Change the decisions on some rows, and list again."""
        keys = pl.DataFrame(named, schema=KEYS)
        with self._writing:
            workspace = self._live.look.workspace
            source = workspace._source  # noqa: SLF001 - as the command line
            parts = []
            for part in (keys.filter(pl.col("step").is_not_null()), keys.filter(pl.col("step").is_null())):
                if part.height:
                    is_whole = part["step"].null_count() > 0
                    rows = workspace._of(part.select("record_id") if is_whole else part)  # noqa: SLF001 - the same
                    parts.append(change(source, (rows.records if is_whole else rows)._query))  # noqa: SLF001
            note = missing_line(source)
            self._live.list_again()
        done = pl.concat([part.rename({part.columns[len(KEYS)]: "is_done"}) for part in parts])
        n_done = int(done["is_done"].sum())
        left = done.filter(~pl.col("is_done"))["reason"].drop_nulls().unique(maintain_order=True)
        verb = "included" if change is include else "excluded"
        sentences = [f"{n_done:,} {verb}", *left.head(3), *([note] if note else [])]
        return JSONResponse({"told": "; ".join(sentences), "n": n_done})

    # --- answers -----------------------------------------------------------------------------------------

    def _page(
        self, request: Request, look: Look, name: str, status: int = 200, **values: Any
    ) -> HTMLResponse:
        text = render(
            name,
            folder=_TEMPLATES,
            **values,
            name=masked(look.source.config.name),
            root=masked(look.source.config.root),
            at=look.at,
            version=self._live.version,
            fault=self._live.fault,
            read_only=self._read_only,
            nonce=request.state.nonce,
            form_token=request.state.form_token,
        )
        return HTMLResponse(text, status_code=status)

    def _problem(self, request: Request, error: SinagotError) -> Response:
        """Answer an error: one sentence, in a page or in JSON."""
        status = 404 if isinstance(error, NotFoundError) else 400 if isinstance(error, UsageError) else 500
        if request.method == "POST":
            return JSONResponse({"told": error.one_line}, status_code=status)
        return self._page(
            request, self._live.look, "problem.html", status, problem=error,
            where=request.query_params.get("where", ""),
        )  # fmt: skip

    def _invalid(self, request: Request, error: Exception) -> Response:
        """Answer a request that no route takes."""
        status = getattr(error, "status_code", 400)
        text = "there is no such page" if status == NOT_FOUND else "the request is not complete"
        answer = self._problem(request, UsageError(text, "Begin at the overview."))
        answer.status_code = status
        return answer


def _asset(text: str, kind: str) -> Response:
    return Response(text, media_type=kind)


def _unexpected(_: Request, error: Exception) -> Response:
    return PlainTextResponse(
        f"{type(error).__name__}: {error}. This is a fault of sinagot-catalog.\n", status_code=500
    )
