"""Options of ``renma prepare VERB``: one file a verb."""
