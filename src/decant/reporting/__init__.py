"""From log-probabilities and timings to tables, pictures and reports.

Nothing is imported here on purpose: `python -m decant.timing.process` runs in a fresh process whose memory
and start-up time are published, so that importing this package must cost nothing.
"""
