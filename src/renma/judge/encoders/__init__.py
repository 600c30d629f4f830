"""What pictures look like as numbers: one file for each kind of encoder.

The folder is the registry. A kind that lies in files of its own says whether a folder is of its
kind (``fits``) and opens it (``opened``). Nothing is downloaded.
"""
