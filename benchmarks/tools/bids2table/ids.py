from bids2table import index_dataset

print(*index_dataset("dataset")["sub"].to_pylist(), sep="\n")
