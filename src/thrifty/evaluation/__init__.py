"""How good a model is, with intervals, and the report that shows it.

Takes true targets and a model's outputs as arrays, and the findings of a run; gives scores, intervals, temperatures,
decisions, report.json, the summary in the terminal and report.html. Knows nothing of models, engines, trials or how
outputs were made. numpy alone; Rich, Pillow and soundfile only where something is shown.
"""
