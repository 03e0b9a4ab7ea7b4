"""Pure functions over data frames: what trials and confirmations say, and how surely.

In: the two frames of `frames`, whoever made them. Out: numbers with their intervals; no words, no figures.
differences  two configurations compared, paired by seed; start here. groups: of languages; dose: gain against magnitude
intervals    t intervals; significance: tests that need no t, corrections; power: what a confirmation could see
             sequential: one that looks as seeds come in, and stops when it knows
pooled       one answer over many tasks, by random_effects; crossed: which languages gain more, by mixed models
calibration  of answers, by their confidence
selection    what choosing does to a score; importance: which parameters matter
"""
