"""Searching: a study's trials in one store, policies that buy the next trial or epochs, and the loop that runs them.

Takes a space, a metric and an executor; gives trials with their curves and costs. Knows numbers and trials: nothing of
data, tensors, models or recipes.
"""
