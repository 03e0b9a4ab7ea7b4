"""Which point comes next, and which one won.

In: a `StudyConfig` and a record. Out: points for trials, verdicts on their reports, controls, a ranking.
proposer   the interface, and fixed lists; start here. search: Optuna behind it; pruning, frozen: its trials and pruners
arms       where a study's trials come from; designs: the points of fixed designs
outcomes   how a trial ended, as each hears it; spending: budgets of time, cost and patience
warm_start learning from another study; replay: a ledger's trials, told once more to those that proposed them
ranking    the standard controls, and the choice of rank 1
"""
