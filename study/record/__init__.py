"""The only truth, and where it lies: an append-only ledger per study, on a disk or mirrored in an object store.

In: events. Out: a `StudyRecord`, what the events add up to.
ledger     the writer, and the table of all events; start here
lines      reading and encoding; record: the sum of the events; faults: whose fault a failed trial was
ownership  one driver per study; signals: what keeps an event from being torn by one
removal    removing a study, or its checkpoints
manifest   what was asked of the members of a suite
place      every path of a study, here and in its store
roots      a root that is a URI, and the working folder that the rest sees in its place; segments: its mirrored ledger
version    which code ran
"""
