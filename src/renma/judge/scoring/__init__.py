"""How good a checkpoint is: prompts to judge by, measures, the comparison, its words."""
