"""The product: one ONNX file with preprocessing, network and calibrated probabilities, and the checks of it."""
