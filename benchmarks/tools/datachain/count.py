from pathlib import Path

import datachain as dc


def lines(file: dc.File) -> int:
    counted = len(file.read_text().splitlines())
    Path(f"dataset/out/{Path(file.path).stem}.txt").write_text(str(counted))
    return counted


if __name__ == "__main__":
    Path("dataset/out").mkdir(exist_ok=True)
    dc.read_storage("dataset/raw", update=True).map(lines=lines).save("counted")
