"""Column values in, arrays out: one file per kind of encoder, numpy alone, the same code in training and prediction.

Takes plain Python values, a sequence per column (`None` is missing), and gives arrays whose first axis is the rows.
Knows nothing of tables, splits, models or onnxruntime. What an encoder learnt goes to JSON and named arrays.
"""
