from itertools import groupby
from pathlib import Path

SOURCES = sorted(Path("dataset/raw").iterdir())


def count(dependencies, targets):
    written(targets, len(Path(dependencies[0]).read_text().splitlines()))


def add(dependencies, targets):
    written(targets, int(Path(dependencies[0]).read_text()) + 1)


def total(dependencies, targets):
    written(targets, sum(int(Path(one).read_text()) for one in dependencies))


def written(targets, number):
    Path(targets[0]).parent.mkdir(exist_ok=True)
    Path(targets[0]).write_text(str(number))


def task(name, action, sources, target):
    return {"name": name, "actions": [action], "file_dep": sources, "targets": [target]}


def task_s():
    for source in SOURCES:
        before = str(source)
        for number in range(1, 11):
            target = f"dataset/s{number:02}/{source.stem}.txt"
            yield task(f"{number:02}:{source.stem}", add if number > 1 else count, [before], target)
            before = target


def task_total():
    for group, sources in groupby(SOURCES, lambda source: source.stem[:8]):
        members = [f"dataset/s10/{source.stem}.txt" for source in sources]
        yield task(group, total, members, f"dataset/total/{group}.txt")
