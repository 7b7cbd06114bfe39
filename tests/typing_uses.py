"""Real uses of the library, for type checkers: this file is checked and never run."""

from pathlib import Path

import polars as pl
import pyarrow as pa  # noqa: TC002 - as users import it

from sinagot_catalog import ScriptTemplate, StepStatus, Workspace


class Script(ScriptTemplate):
    """A script as users write it."""

    PATH_IN = ("raw", "{id}.csv")
    PATH_OUT = ("mean", "{id}.csv")
    RETRIES = 2

    def run(self) -> None:
        """Read the input, write the output."""
        rows = pl.read_csv(self.path.input)
        self.logger.info("%d rows", rows.height)
        rows.mean().write_csv(self.path.output)


def look(folder: Path) -> pl.DataFrame:
    """Look at a workspace."""
    with Workspace(folder) as ws:
        failed = ws.steps.filter(pl.col("status") == "ERROR", step="mean")
        ids: list[str] = failed.records.ids()
        count: int = ws.RS.EEG.count()
        table: pa.Table = ws.files.to_arrow()
        frame: pl.DataFrame = ws.sql("SELECT * FROM steps").collect()
        for record in ws.records.head(count):
            frame = frame.filter(pl.col("record_id") != record.id)
        return frame.filter(pl.col("record_id").is_in(ids)) if table.num_rows else failed.collect()


def run(ws: Workspace, rows: pl.DataFrame) -> bool:
    """Plan, run, and read what became of it."""
    plan = ws.steps.filter(status=StepStatus.DATA_READY).plan("mean", force=True)
    seconds = float(plan.costs["seconds"].sum())
    report = ws.run(rows, workers=2)
    results: pl.LazyFrame = ws.steps.scan_outputs("mean")
    return report.ok and seconds < 60 and results.collect().height == report.counts().get("done", 0)


def understand(ws: Workspace) -> str:
    """Ask why."""
    told = ws.explain("REC-1", "mean", task="RS")
    sizes: list[int | None] = [file.size for file in told.files]
    trial = ws.try_pattern("raw/{id}-{task}.csv")
    page: Path = ws.report("report.html")
    return f"{told.decided.says} {sizes} {trial.counts()['match']} {page.name} {ws.plot.mermaid()}"


def know(ws: Workspace) -> tuple[StepStatus | None, pl.DataFrame]:
    """Know the types of what is returned."""
    step = ws.steps.get("mean")
    status: StepStatus | None = step.status()
    ws.steps.run("mean", mode="main_process", stale="code")
    few = ws.steps.filter(status="READY").head(3).sample(2, seed=1)
    return status, few.records.matrix()
