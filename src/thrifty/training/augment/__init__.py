"""Random changes to batches that keep labels, a module for each kind of input, each in torch on the whole batch.

All take a strength from 0 (nothing) to 1.
"""
