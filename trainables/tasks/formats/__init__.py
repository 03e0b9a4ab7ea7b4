"""Formats: rows out of files as they are published. Bytes (`source`) -> text -> rows, one module per format.

In: a path, and what the task's definition says about its files (`reading.Reading`). Out: rows as dicts, each with its
file and row; what is malformed comes out in a row's place, as a `RowError`, so that nothing is dropped without a word.
Open `registry` first: it recognises a file's format by what is in it.
"""
