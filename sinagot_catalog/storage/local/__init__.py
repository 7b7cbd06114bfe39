"""Local storage: folders and files of this machine, read through the operating system.

In: a folder. Out: its files, sizes and times as columns; contents as bytes.

Begin with `store`, then `local_walk` (one pass over a tree). `folder_stamps` and `folder_cache` skip folders that
did not change, `parallel_walk` shares a long pass among processes. `entry`, `regular_file`, `glob_files` and
`fingerprints` are for single files; they need the standard library only, so that workers use them as well.
"""
