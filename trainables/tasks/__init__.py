"""Tasks: labelled data in many languages, and what it means to train on it and to score it.

`load_task` reads the splits it is asked for and no other; the test split is closed to whoever does not name it.
In: a name of the catalogue, or a definition of one's own. Out: rows, and the shape that encodes and scores them.
task       a task with its rows; start here. definition: what a task is, as data; plan: which rows are which split
store      where rows are: files, hub, or built in; formats: as published (words: those of
           CoNLL-U); fields: reading a row; rows: many of them, in bounded memory
heads      the dependency heads of words, and where tokens stand in their trees
base       what a shape is; shapes: which one a definition has; encoding: text to arrays; answers, chunks: scores
classification, choice, tagging, span, retrieval, relevance  the shapes; ranking: the scores of ranked lists
tokenising text to arrays by several processes
"""
