"""What the Snakefile does to find its records."""

from snakemake.io import glob_wildcards

print(*glob_wildcards("dataset/raw/{id}.csv").id, sep="\n")
