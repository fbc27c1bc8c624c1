"""The search over whole recipes: which candidates fit the data, what to buy next, what to hand over.

Takes a prepared Dataset, a budget and limits; gives a run directory with an artifact and a report. Knows candidates by
what they declare; never imports a training library (engines are named by string and imported in trial processes).
"""
