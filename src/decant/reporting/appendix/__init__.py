"""The appendix of a study's report: every table and the origin of the files, one module per topic.

Each section is "" without its files.
"""
