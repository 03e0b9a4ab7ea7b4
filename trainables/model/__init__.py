"""Encoders and heads: a Hugging Face encoder as embed() and logits().

encoder    the encoder, and the model of a trial; start here. heads: pooled states to logits
pretrained loads an encoder and its tokenizer, trims, extends and writes it
catalogue  what is published of the encoders that the field uses; content: names that of one, for caches
maps       a linear map for each language after its last layer, for alignment without training
families   what differs between kinds of encoders, in one table; whoever looks inside an encoder asks it
xlm_tokenizer  a fast tokenizer for XLM, out of its files; moses: its words
by_word    texts tokenised word by word, each word once
segments   segmentations of a word, drawn at random; resegmenting: a tokenizer whose words are
dropout    masks shared by all passes over a batch; attention: with them, and without the padding
adapters   LoRA, IA3, or biases alone: a part of an encoder that is trained in place of it
frozen     states that no trial changes, kept from evaluation to evaluation
stock      a trained encoder and head as a class of the transformers library
"""
