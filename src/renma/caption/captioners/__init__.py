"""Captioners of transformers: one file for each way in which models are shown a picture.

A module says which model types it knows (``TYPES``), loads one from a local folder (``load``),
makes its input of pictures (``ask``) and a caption of what it generated (``read``).
"""
