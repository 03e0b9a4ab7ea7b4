"""One trial in plain torch.

loop       `run_trial`: a generator of evaluations; start here
trial      a trial's state, its start and resumption; step: one optimiser step; optimiser: AdamW and its rate
memory     what a trial needs of a device's, by a formula
export     a finished trial's model as a folder that transformers loads
"""
