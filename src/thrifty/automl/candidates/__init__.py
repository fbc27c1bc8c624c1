"""The ladder: one file per candidate, each saying which data it fits, what it will cost, and its space.

Takes Facts, gives a Recipe and priors on cost and skill. Imports no engine: a candidate names it by string.
"""
