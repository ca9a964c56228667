"""What the scripts in benchmarks/ measure that is no stage of a study."""
