"""The pipeline's program: a folder for each stage of dvc.yaml, and what they share.

A regular package: of several folders of this name, Python would merge the contents otherwise.
"""
