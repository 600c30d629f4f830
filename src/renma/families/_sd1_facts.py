"""What makes a diffusers folder a Stable Diffusion 1.x model, by its small files (no torch)."""

from __future__ import annotations

from pathlib import Path

from renma.formats.diffusers_folder import read_json


def is_sd1(folder: Path) -> bool:
    """Says whether the folder holds one CLIP text encoder and a U-Net of the SD 1.x layout."""
    index = read_json(folder / "model_index.json")
    unet = read_json(folder / "unet" / "config.json")
    return (
        "text_encoder" in index
        and "text_encoder_2" not in index
        and unet.get("in_channels") == 4
        and not unet.get("use_linear_projection", False)
    )


def problem(folder: Path, clip_skip: int) -> str:
    """Returns why a model cannot be trained as it stands, or an empty text."""
    if not is_sd1(folder):
        return "is not a Stable Diffusion 1.x model, the one family this version trains"
    schedule = read_json(folder / "scheduler" / "scheduler_config.json")
    prediction = schedule.get("prediction_type", "epsilon")
    if prediction != "epsilon":
        return f"predicts '{prediction}'; this version trains epsilon models"
    if schedule.get("beta_schedule") != "scaled_linear" or schedule.get("trained_betas"):
        return f"has the noise schedule '{schedule.get('beta_schedule')}', not SD's scaled_linear"
    layers = read_json(folder / "text_encoder" / "config.json").get("num_hidden_layers", 12)
    if clip_skip > layers:
        return f"has {layers} text encoder layers, fewer than model.clip_skip = {clip_skip}"
    return ""
