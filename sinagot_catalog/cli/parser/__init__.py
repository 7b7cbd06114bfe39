"""The parser of the command line: from words to a verb and its checked arguments.

In: the words after the program's name. Out: a call of the verb, or one sentence that says which word is wrong.

Begin with `app` (the list of verbs). `command` has the classes of verbs and parameters, `options` those that
several verbs share, `candidates` the values that a shell can complete.
"""
