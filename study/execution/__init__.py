"""Running trials: the only room of `study` that talks to Ray.

In: a `StudyConfig` and a root. Out: a ledger with the trials in it.
runner     `run_study`: Ray's Tuner over adapters; start here. confirm: the fixed design of confirm, through it
measuring  what is measured of languages when a study begins
suite      the members of a suite, run or confirmed in one pool of slots
members    the studies that share the slots, or one alone; pool: whose trial a free slot takes next (pure)
trials     ask, report, finish: the ledger first, then the proposer; knows no Ray. retry: failed ones once more
adapters   Ray's Searcher and scheduler over members; interrupts: Ctrl-C; concurrency: how many at a time
cluster    the Ray it runs on: a local one of its own, or that at an address
looks      at a confirmation's endpoint while its seeds come in
checkpoints  which checkpoints of finished trials stay; simulation: a trainable without training
"""
