"""LoRA files as pages show them: read from their headers alone, without torch."""
