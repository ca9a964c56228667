"""The exported student: one ONNX file with preprocessing, network and calibrated probabilities, and its checks."""
