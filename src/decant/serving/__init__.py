"""The app: a page and inference protocols in front of exported files. Needs only ONNX Runtime, NumPy, Pillow, Flask
and waitress.
"""
