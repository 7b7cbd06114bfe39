from pathlib import Path


def count(source, target):
    Path(target).parent.mkdir(exist_ok=True)
    Path(target).write_text(str(len(Path(source).read_text().splitlines())))


def task_count():
    for source in sorted(Path("dataset/raw").iterdir()):
        target = f"dataset/out/{source.stem}.txt"
        yield {
            "name": source.stem,
            "actions": [(count, [str(source), target])],
            "file_dep": [str(source)],
            "targets": [target],
        }
