"""Pictures and captions: found, measured, sorted into buckets, ordered (no torch)."""
