"""What is asked: a study's configuration, and whether it makes sense. Reads recipes, writes nothing.

In: YAML, overrides. Out: a frozen `StudyConfig`, and the reductions and rules that the other rooms score and select by.
config     the models; start here
objectives per-language scores -> objective values and constraints (pure)
suites     the file of a suite, its members as studies, whether they are selected alike
rules      who may see which scores, reserved seeds; selection_problems: what a rule forbids
points     points and dimensions in words
arms       treatments that are each tuned by a search of their own; alignments: which aligned encoders there may be
checks     whether a study makes sense as a whole
encoders   which encoders a study trains, what the space fixes for each, whose pretraining languages are meant
literature scores that others have published, and which of them stand beside a study
catalogue  what there is to choose from: recipes, tasks, spaces, methods; published, doses: of encoders, of methods;
           pages, reference: into the documentation; the latter writes docs/configuration.md
"""
