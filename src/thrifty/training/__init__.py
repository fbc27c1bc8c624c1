"""Training a network: the loop and what it is made of.

Takes a torch module, arrays and a config; gives typed events, and the trained weights in the state that it was handed.
Knows nothing of tables, recipes, trials or files other than checkpoints.
"""
