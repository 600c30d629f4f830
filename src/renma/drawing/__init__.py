"""From a recipe to a picture file: what samples, grids and scores are drawn with."""
