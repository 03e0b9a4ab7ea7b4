"""One trial in plain torch.

loop       `run_trial`: a generator of evaluations; start here
trial      a trial's state, its start and resumption; step: one optimiser step; optimiser: AdamW and its rate
passes     a batch cut into micro-batches; feed: those on the device, the next one ahead; views: beside what else
compared   items that are compared with each other, over several workers
memory     what a trial needs of a device's, by a formula
saving     checkpoints, written while training goes on
average    the mean of the weights at its evaluations
library    a model of transformers on a trial's batches; teacher: a frozen one that it is held to
rows       the words of a checkpoint's embeddings, whatever version wrote it
export     a finished trial's model as a folder that transformers loads
"""
