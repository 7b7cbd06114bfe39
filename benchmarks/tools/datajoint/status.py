"""Each record with the steps that have a row for it."""

from tables import STEPS, Recording

done = [set(step.to_arrays("record")) for step in STEPS if "record" in step.primary_key]
for record in Recording.to_arrays("record"):
    print(record, *(record in one for one in done))
