"""A model folder or an artifact in, predictions out: onnxruntime, numpy and the encoders, no training library.

Takes raw rows (dicts, tables, paths) and gives a prediction for each, in order. Defines the format that `exporting`
writes. Knows nothing of how a model was trained or chosen.
"""
