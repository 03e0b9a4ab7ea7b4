"""Trained models on their way out: `study model`, `study soup`, and MLflow's registry.

In: a study and a trial. Out: a Hugging Face folder with its card.
models     the folder; start here. soup: the mean of the weights that were kept
card       its README: hub_metadata for the hub, loading_words for users, scored for what it says of scores
"""
