"""The structure of a workspace: what its config and scripts declare, known without a listing.

In: a `Config` and the declarations of scripts. Out: a `Layout` (units, unit steps, bound patterns), in which steps
that put data at risk are refused.

Begin with `layout` (the model) and `layout_builder` (which makes it); `path_conflicts` compares the paths of
all steps.
"""
