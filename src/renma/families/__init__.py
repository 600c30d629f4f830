"""Model families: one readable file each, with everything that is special about that family."""
