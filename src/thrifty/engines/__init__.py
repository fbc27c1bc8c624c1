"""Who does the numeric work of one trial: opens the Dataset, fits a recipe's model, leaves scores and a model folder.

Takes a job's arguments and its channel, gives a JSON result and files in the trial's folder (see `trial`). Runs in a
process of its own, named by string; must not know policies, studies, limits or the run directory.
"""
