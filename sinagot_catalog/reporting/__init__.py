"""Pages and charts of a workspace, drawn from the catalog's frames.

In: the frames of a selection. Out: one HTML file (`html_report`), Altair charts (`charts`) and the drawing of how
steps depend on each other (`step_graph`). Nothing here computes a status.
"""
