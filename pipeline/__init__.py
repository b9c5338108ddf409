"""What the stages share, in folders that say what is in them.

A regular package: of several folders of this name, Python would merge the contents otherwise.
"""
