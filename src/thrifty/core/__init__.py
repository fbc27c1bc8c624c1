"""What every other layer stands on: errors, clocks, events, seeds, run directories, spaces.

Takes and gives plain Python values. Knows nothing of data, models, processes or trials.
"""
