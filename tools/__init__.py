"""What a user runs by hand, beside the pipeline.

A regular package: a folder of this name without this file would lose to any package so called that
is installed.
"""
