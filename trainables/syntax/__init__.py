"""Syntax as a help to transfer: dependency trees of the texts, and layers that look along them.

In: heads of words, word embeddings or states of tokens, where the tokens lie. Out: what is added to an encoder's keys
and values, other states, auxiliary losses. Knows neither encoder nor task.
trees   heads of words, the tree of a text's tokens, distances in it; start here
"""
