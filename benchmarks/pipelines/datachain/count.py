from pathlib import Path

import datachain as dc


def write(folder, name, number):
    Path(f"dataset/{folder}").mkdir(exist_ok=True)
    Path(f"dataset/{folder}/{name}.txt").write_text(str(number))
    return number


def s01(file: dc.File) -> int:
    return write("s01", Path(file.path).stem, len(file.read_text().splitlines()))


def add(folder):
    """One more step: it adds one to the value of the step before."""

    def added(path, number):
        return write(folder, Path(path).stem, number + 1)

    return added


def total(groups, numbers):
    yield groups[0], write("total", groups[0], sum(numbers))


def group(path):
    return Path(path).stem[:8]


if __name__ == "__main__":
    chain = dc.read_storage("dataset/raw", update=True).map(s01=s01)
    for number in range(2, 11):
        before, after = f"s{number - 1:02}", f"s{number:02}"
        chain = chain.map(add(after), params=["file.path", before], output={after: int})
    chain = chain.map(group, params=["file.path"], output={"group_id": str}).save("counted")
    chain.agg(
        total, params=["group_id", "s10"], output={"total_of": str, "total": int}, partition_by="group_id"
    ).save("totals")
