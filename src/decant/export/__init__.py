"""The product: one ONNX file that holds preprocessing, network and answer, and the checks that prove it."""
