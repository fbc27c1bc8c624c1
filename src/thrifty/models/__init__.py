"""What is trained or taken as it is: networks sized to the data, pretrained backbones and where their weights are.

Takes sizes and weights; gives torch modules, and ONNX graphs for backbones. Knows nothing of files of data, of how a
network is trained, or of trials.
"""
