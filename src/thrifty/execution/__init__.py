"""Runs jobs with their resources: in this process, or each in a process tree of its own that ends alone.

Takes a Job (an entry by name, or a function, with its JSON arguments, cores, memory and seconds); gives the messages it
reported and how it ended. Knows nothing of trials, data or models, and imports no framework: the server that forks the
jobs imports what the job's `preload` names.
"""
