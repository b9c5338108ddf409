"""The five stages of dvc.yaml, a file each.

A regular package: of several folders of this name, Python would merge the contents otherwise.
"""
