"""The verbs of the command line, a module each; a few share one (`plan` and `submit` are in `run`).

In: the parsed arguments of a command. Out: lines on stdout and stderr, and an exit code.

Begin with `status`, which only reads, or `run`, which changes files. A new verb is a function with the decorator
`verb` of `parser.command`, and a word in the list of `parser.app`. A module is imported when its verb is called.
"""
