from pathlib import Path

from flow import FlowProject


class Project(FlowProject):
    pass


@Project.post.isfile("lines.txt")
@Project.operation
def count(job):
    lines = Path(job.fn("raw.csv")).read_text().splitlines()
    Path(job.fn("lines.txt")).write_text(str(len(lines)))


if __name__ == "__main__":
    Project().main()
