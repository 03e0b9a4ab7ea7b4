"""Before it runs: whether this machine, or a cluster, can run a study, and what it would take and show.

In: a `StudyConfig` and a root. Out: findings with their cures, words, or a `UserError`.
preflight  what forbids a start; start here. needs: time, memory and disk
doctor     what this machine has and lacks; cluster_doctor: the same of a cluster's machines; finding: one line of it
fits       whether trials fit into the memory of their devices
survey     what was understood of a task's data; survey_words: the same in tables
proposal   a task's file for a folder; placing: where the folder's files lie
vocabulary how an encoder's tokenizer cuts the languages of a task
dry_run    trials, hours and disk, by member of a suite
slurm      a job of Slurm's for it
describe   a study in words; describe_suite: several; power_plan: what a confirmation could show
"""
