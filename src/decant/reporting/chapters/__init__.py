"""The seven sections of a study's report, one module each."""
