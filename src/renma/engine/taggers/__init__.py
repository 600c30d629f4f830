"""Taggers that people have: one file for each kind ("contract") of ONNX file.

A contract is a module that says which list of tags lies beside the model (``LISTS``), reads it
(``read_tags``), and makes of a picture what the model was trained on (``prepare``).
"""
