"""What can be seen of a suite: its manifest, and its members as the studies that they are.

In: a root and the name of a suite. Out: text and JSON. Nothing here is stored: the manifest says what was asked, the
members' ledgers say all else.
found      a suite as it lies on disk; start here
tables     `study show` of a suite, and `study ls`
document   the same as JSON
watching   `study watch` of a suite that runs elsewhere
"""
