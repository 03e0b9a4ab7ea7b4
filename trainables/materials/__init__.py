"""What every trial of a study reads and none changes, prepared once into the cache.

materials  tokenised data, trimmed encoder, reference norm, memory-mapped; start here
noised     evaluated rows under noise; views: training texts in another segmentation; teachers: who can be one
batches    who trains when; weights: an encoder's files, unread: their sizes and precision
"""
