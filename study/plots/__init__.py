"""Figures of any recorded quantity against any other: `study plot`.

In: a study and names of quantities. Out: a figure as a file, with its numbers beside it.
quantities what there is to draw; chart: what one figure shows; plotting: the command's work, start here
scatter    draws it, with scales and marks
"""
