"""Trained models in, a checked and timed artifact out: ONNX files, the artifact's folder, parity, latency, int8.

Takes model folders and modules; gives files in the format that `runtime` reads. Knows nothing of how a model was
chosen.
"""
