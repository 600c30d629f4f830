"""Procedures: what happens around the steps of a run; one per file."""
