"""The default budget of int8. Not in `decant.study`, because `verify_onnx.py` must run where pydantic is missing."""

BUDGET_POINTS = 0.5  # of 100, of accuracy on val
