"""Labelled rows of any kind in; a typed table, a schema, splits and encoded arrays out.

Takes files, folders, archives and tables in memory. Gives a Dataset on disk (Arrow, memory-mapped), its Schema and its
Splits, and every problem that was found. Knows nothing of models, training, trials or metrics.
"""
