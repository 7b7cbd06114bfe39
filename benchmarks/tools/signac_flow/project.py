from pathlib import Path

from flow import FlowProject
from flow.environment import StandardEnvironment


class Project(FlowProject):
    pass


@Project.post.isfile("out.txt")
@Project.operation
def count(job):
    lines = Path(job.fn("raw.csv")).read_text().splitlines()
    Path(job.fn("out.txt")).write_text(str(len(lines)))


if __name__ == "__main__":
    Project(environment=StandardEnvironment).main()  # not the Slurm that may be on this machine
