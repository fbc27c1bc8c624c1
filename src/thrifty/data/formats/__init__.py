"""One file per kind of input: each takes a path or a value in memory and gives an Arrow table and the rows it left out.

Knows nothing of meanings, targets or splits: cells come out as they stood.
"""
