"""The files of a workspace: which of them are there, for which record, and their sizes and times.

In: a `Layout` and one listing of each root. Out: the record ids, and for each bound pattern a Boolean column that
tells for which records its path is there.

Begin with `record_ids`, then `presence`. `listings` lists the roots, `file_stats` reads sizes and times on demand,
`unused_files` finds the files that no row uses.
"""
