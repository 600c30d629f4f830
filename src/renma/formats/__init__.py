"""File formats: safetensors, LoRA names and metadata, run state."""
