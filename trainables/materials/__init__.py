"""What every trial of a study reads and none changes, prepared once into the cache.

materials  tokenised data, trimmed encoder, reference norm, memory-mapped; start here
fitting    whether a method goes with the rest; idle: whether it would do anything to an encoder
keys       what names materials in the cache; building: making them
arrays     how they lie in a folder
noised     evaluated rows under noise; noisy_files: those that files have
substitutes  what a word attack may put in the place of words
parsed     whose trees are known
twins      rows that are one example in two languages
views      training texts in another segmentation; teachers: who can be one
vocabulary how languages are cut into tokens
batches    who trains when; weights: an encoder's files, unread: their sizes and precision
"""
