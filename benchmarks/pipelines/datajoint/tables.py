from pathlib import Path

import datajoint as dj

schema = dj.Schema("counted")


@schema
class Group(dj.Manual):
    definition = """
    group_id: varchar(16)
    """


@schema
class Recording(dj.Manual):
    definition = """
    record: varchar(16)
    ---
    -> Group
    """


def write(folder, name, number):
    Path(f"dataset/{folder}/{name}.txt").write_text(str(number))
    return number


@schema
class S01(dj.Computed):
    definition = """
    -> Recording
    ---
    number: int32
    """

    def make(self, key):
        lines = Path(f"dataset/raw/{key['record']}.csv").read_text().splitlines()
        self.insert1({**key, "number": write("s01", key["record"], len(lines))})


def added(before):
    """One more step: it adds one to the number of the step before."""
    name = f"S{int(before.__name__[1:]) + 1:02}"

    def make(self, key):
        number = (before & key).fetch1("number") + 1
        self.insert1({**key, "number": write(name.lower(), key["record"], number)})

    definition = f"""
    -> {before.__name__}
    ---
    number: int32
    """
    members = {"definition": definition, "make": make, "__module__": __name__}
    return schema(type(name, (dj.Computed,), members), context={before.__name__: before})


STEPS = [S01]
for _ in range(9):
    STEPS.append(added(STEPS[-1]))
S10 = STEPS[-1]


@schema
class Total(dj.Computed):
    definition = """
    -> Group
    ---
    number: int32
    """

    @property
    def key_source(self):
        return Group - (Recording - S10).proj("group_id")

    def make(self, key):
        numbers = (S10 * Recording & key).to_arrays("number")
        self.insert1({**key, "number": write("total", key["group_id"], sum(map(int, numbers)))})


STEPS.append(Total)
