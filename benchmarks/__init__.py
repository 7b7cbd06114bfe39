"""How quick looking, running and starting are, each beside a floor that does the same work without this library.

`python -m benchmarks` runs all of it, `python -m benchmarks --quick status run` a part. A floor is measured in
turn with ours, several times in the same run: absolute times drift from machine to machine, ratios hold.
"""
