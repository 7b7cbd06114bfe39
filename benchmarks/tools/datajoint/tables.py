from pathlib import Path

import datajoint as dj

schema = dj.Schema("counted")


@schema
class Recording(dj.Manual):
    definition = """
    record: varchar(16)
    """


@schema
class Count(dj.Computed):
    definition = """
    -> Recording
    ---
    lines: int32
    """

    def make(self, key):
        lines = len(Path(f"dataset/raw/{key['record']}.csv").read_text().splitlines())
        Path(f"dataset/out/{key['record']}.txt").write_text(str(lines))
        self.insert1({**key, "lines": lines})


STEPS = [Count]
