"""Diffusion mathematics: noise schedule, keyed noise, samplers."""
