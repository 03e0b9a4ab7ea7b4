"""The embedded default: a real encoder and real labelled data out of installed packages, without any network.

encoder    the encoder and its tokenizer, as Hugging Face has them; start here. e5s1: its file; charsmap: its normaliser
intents    labelled sentences in many languages; templates, fillers: how they are made
"""
