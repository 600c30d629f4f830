"""From a pile of pictures to pictures worth training on; originals are never changed."""
