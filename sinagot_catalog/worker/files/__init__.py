"""The files of a row on local disks: found, staged, published.

In: the patterns of a step and the keys of a row. Out: paths for its script, and whole outputs at their final paths.

Begin with `local_files`, then `staging` (where scripts write) and `publication` (the order in which outputs get
their final names). `local_publisher`, `file_moves` and `target_folders` do it on disks; `moved_inputs` puts back
the inputs that a script moved.
"""
