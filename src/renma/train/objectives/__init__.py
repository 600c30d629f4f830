"""Objectives: what the loss looks at; one per file."""
