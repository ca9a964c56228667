"""Figures, tables and reports from the files in `results/`."""
