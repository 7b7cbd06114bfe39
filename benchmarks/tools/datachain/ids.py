import datachain as dc

files = dc.read_storage("dataset/raw", update=True)
print(*(path.removesuffix(".csv") for path in files.to_values("file.path")), sep="\n")
