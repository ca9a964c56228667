"""Many teachers, one answer: test-time augmentation, calibration and pooling."""
