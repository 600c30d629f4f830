"""Options of ``renma caption VERB``: one file a verb."""
