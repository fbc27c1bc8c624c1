"""Networks trained from scratch, sized to the data, whose `forward` takes an encoder's arrays.

Knows nothing of how they are trained or exported.
"""
