"""The process of a worker: what one script changes in it does not reach the next, and Ctrl-C ends it in order.

Begin with `process_state` (undoes what a script changed in the process), then `interrupts` (Ctrl-C and SIGTERM of a
command) and `row_interrupts` (the same while a script runs).
"""
