"""Names, files, events, errors, keyed randomness: what everything stands on (no torch)."""
