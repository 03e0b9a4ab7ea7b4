"""Tasks: labelled data in many languages, and what it means to train on it and to score it.

`load_task` reads the splits it is asked for and no other; the test split is closed to whoever does not name it.
"""
