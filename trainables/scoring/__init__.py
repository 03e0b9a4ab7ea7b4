"""From a model and materials to scores per language.

Where embeddings and lower layers are frozen, a worker computes what they give to the evaluated text once, and later
evaluations and trials begin above them.

evaluation clean scores and predictions; start here. stream: all languages in one length-sorted stream
sequences  the same of embeddings, each different sequence once; search: the nearest of all candidates
robustness scores under attack, certificates; noise: on noised texts; calibration: of the answers
word_attack  scores where words are replaced by others
measured   the names of all that will be scored
agreement  with the model's own answers in the source language
parsed     whose trees there were
predictions: example by example, as Parquet
"""
