"""What can be seen of a study, and made again from its ledger.

In: a root and a name, or events as they come. Out: text, JSON, data frames, Optuna's database.
found      a study as it lies on disk; start here. values: its objectives' values
tables     `study show` and `study ls`; document: the same as JSON; ranks: another order of the trials
layout     tables that fit a terminal
progress   the live table; picture: what it shows, suite_picture: of several studies; chatter: what libraries write
following  the live table of a study that runs elsewhere
models     which trial's model, and where its weights are
history    ledger -> data frames (`study.load_study`); optuna_export: ledger -> optuna.db; rebuilding makes views anew
"""
