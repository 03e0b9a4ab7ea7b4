"""Running trials: the only room of `study` that talks to Ray.

In: a `StudyConfig` and a root. Out: a ledger with the trials in it.
runner     `run_study`: Ray's Tuner over adapters; start here. confirm: the fixed design of confirm, through it
trials     ask, report, finish: the ledger first, then the proposer; knows no Ray. retry: failed ones once more
adapters   Ray's Searcher and scheduler over trials; interrupts: Ctrl-C; concurrency: how many at a time
cluster    the Ray it runs on: a local one of its own, or that at an address
looks      at a confirmation's endpoint while its seeds come in
checkpoints  which checkpoints of finished trials stay; simulation: a trainable without training
"""
