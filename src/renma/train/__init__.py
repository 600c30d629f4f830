"""Training: from a run.toml to LoRA files, with exact resume."""
