"""Pretrained networks as ONNX files, written node by node from their weights.

Takes what `weights.find` gives; gives a file whose inputs are an encoder's arrays and whose output is `features`.
Knows nothing of labels.
"""
