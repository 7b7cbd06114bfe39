from pathlib import Path

from flow import FlowProject, aggregator
from flow.environment import StandardEnvironment


class Project(FlowProject):
    pass


@Project.post.isfile("s01.txt")
@Project.operation
def s01(job):
    lines = Path(job.fn("raw.csv")).read_text().splitlines()
    Path(job.fn("s01.txt")).write_text(str(len(lines)))


def add(before, after):
    """One more step: it adds one."""

    @Project.pre.isfile(f"{before}.txt")
    @Project.post.isfile(f"{after}.txt")
    @Project.operation(name=after)
    def added(job):
        Path(job.fn(f"{after}.txt")).write_text(str(int(Path(job.fn(f"{before}.txt")).read_text()) + 1))


for number in range(2, 11):
    add(f"s{number - 1:02}", f"s{number:02}")


def of_group(jobs):
    return Path(f"dataset/total/{jobs[0].sp.record[:8]}.txt")


@Project.pre(lambda *jobs: all(job.isfile("s10.txt") for job in jobs))
@Project.post(lambda *jobs: of_group(jobs).exists())
@Project.operation(aggregator=aggregator.groupby(lambda job: job.sp.record[:8]))
def total(*jobs):
    of_group(jobs).parent.mkdir(exist_ok=True)
    of_group(jobs).write_text(str(sum(int(Path(job.fn("s10.txt")).read_text()) for job in jobs)))


if __name__ == "__main__":
    Project(environment=StandardEnvironment).main()  # not the Slurm that may be on this machine
