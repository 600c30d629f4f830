"""Room: which checkpoint is the good one? Grid, score and one report to send around."""
