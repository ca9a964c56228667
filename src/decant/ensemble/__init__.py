"""The teachers' predictions combined: test-time augmentation, calibration and pooling."""
