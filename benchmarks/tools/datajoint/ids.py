from tables import Recording

print(*Recording.to_arrays("record"), sep="\n")
