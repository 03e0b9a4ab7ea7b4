"""One trial in plain torch.

loop       `run_trial`: a generator of evaluations; start here
trial      a trial's state, its start and resumption; step: one optimiser step; optimiser: AdamW and its rate
saving     checkpoints, written while training goes on
rows       the words of a checkpoint's embeddings, whatever version wrote it
export     a finished trial's model as a folder that transformers loads
"""
