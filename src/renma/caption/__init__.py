"""Room: captions and tags of many pictures at once (no torch)."""
