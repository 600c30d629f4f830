"""Room: what is done with a base model, a picture set or a LoRA outside training (no torch)."""
