"""Syntax as a help to transfer: dependency trees of the texts, and layers that look along them.

In: heads of words, word embeddings or states of tokens, where the tokens lie. Out: what is added to an encoder's keys
and values, other states, auxiliary losses. Knows neither encoder nor task.
added   what a configuration adds to a model, and its cost; start here
trees   heads of words, the tree of a text's tokens, distances in it
graph   graph attention over near words; probes: what is to be read from its output
gate    attention along paths, between encoder and head
"""

KINDS = {
    "augmented": "graph attention along dependency trees, added to keys and values in all layers (Ahmad et al.)",
    "gate": "attention along dependency trees between encoder and head (GATE)",
}
"""What there is, in words."""
