"""Trials on Ray: the only room of `trainables` that knows it.

driver     the Ray Tune actor of a concurrency slot; start here. It owns a group of workers
worker     what each Ray Train worker runs; mailbox: the post box between the two
trainer    Ray Train's trainer; lean: the same without the processes that are of no use to us
meeting    how the workers of a trial find each other, out of reach of anybody else

Workers are warm: a slot's worker group serves one trial after another (`scaling.executor: warm`) or a single one
(``fresh``); there is one mechanism, and ``fresh`` recycles the group after each trial. Whatever persists in a process
is reset between trials.
"""
