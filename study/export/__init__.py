"""Everything that a study has recorded, as tidy tables: `study export`.

In: a study. Out: a folder of Parquet files, described, and its headline as CSV and for LaTeX.
relations  the tables and their columns, out of relations.yaml; start here
rows       their rows; headline: the table that papers show; exporting: the folder
"""
