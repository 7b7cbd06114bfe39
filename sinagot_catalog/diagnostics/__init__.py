"""Why a row has its status, what a pattern matches, and what is wrong with a set-up.

In: an open workspace. Out: reports to read, as text, HTML or JSON. Begin with `explain` (one row), `try_pattern`
(one pattern) or `doctor` (the whole set-up).
"""
