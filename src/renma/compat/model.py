"""The base model: which script, family, precision and attention mean here."""

from __future__ import annotations

from renma.compat.draft import Draft, conflict


def fill(draft: Draft) -> None:
    """Takes the options about the base model.

    Raises:
        UserError: options that exclude each other.
    """
    given = draft.given
    _path(draft)
    if given.sdxl and given.has("v2"):
        raise conflict("SDXL is not Stable Diffusion 2", "v2", remedy="Use train_network for it.")
    family = "sdxl" if given.sdxl else "sd2" if given.has("v2") else "sd1"
    draft.put("model.family", family)
    draft.settled.add("v2")
    if given.has("v2"):
        draft.take("v2", "model.family", family)
    prediction = "v_prediction" if given.has("v_parameterization") else "epsilon"
    why = (
        "" if given.has("v_parameterization") else "sd-scripts does not look into the model for it"
    )
    draft.take("v_parameterization", "model.prediction", prediction, why)
    if given.has("vae"):
        draft.take("vae", "model.vae", draft.places.moved(given.get("vae")))
    if given.sdxl and given.has("clip_skip"):
        draft.idle("clip_skip", "SDXL uses the layer it was made with, in sd-scripts too")
    _attention(draft)
    _precision(draft)


def _path(draft: Draft) -> None:
    name = "pretrained_model_name_or_path"
    if not draft.given.has(name):
        draft.miss(name, "give the base model; 'mame', the small built-in one, stands in for it.")
        return
    path = draft.given.get(name)
    # what is no file here may be a name on a hub: it is left for the check to name
    there = (draft.places.here / path).exists() and path != "mame"
    draft.take(name, "model.path", draft.places.moved(path) if there else path)


def _attention(draft: Draft) -> None:
    """Takes the three switches of sd-scripts; xformers wins over sdpa there."""
    if draft.given.has("xformers"):
        why = "the fastest that this machine has, xformers where it is installed; the same result"
        draft.take("xformers", "model.attention", "auto", why)
        for other in ("sdpa", "mem_eff_attn"):
            if draft.given.has(other):
                draft.idle(other, "--xformers decides")
    elif draft.given.has("sdpa"):
        draft.take("sdpa", "model.attention", "sdpa")
        if draft.given.has("mem_eff_attn"):
            draft.idle("mem_eff_attn", "--sdpa decides")
    elif draft.given.has("mem_eff_attn"):
        draft.take("mem_eff_attn", "model.attention", "sdpa", "torch's own is memory-efficient too")


def _precision(draft: Draft) -> None:
    """Takes fp8 and the options that hold the adapter itself in half precision.

    Raises:
        UserError: they do not fit mixed_precision, which sd-scripts refuses too.
    """
    given = draft.given
    mixed = given.get("mixed_precision")
    for name, wanted in (("full_fp16", "fp16"), ("full_bf16", "bf16")):
        if given.has(name):
            if mixed != wanted:
                remedy = f"Give --mixed_precision={wanted}."
                raise conflict(f"needs mixed precision {wanted}", name, remedy=remedy)
            draft.idle(name, "adapter weights always stay fp32: more exact, a few MiB more")
    for name in ("fp8_base_unet", "fp8_base"):
        if given.has(name):
            if mixed == "no":
                remedy = "Give --mixed_precision=bf16 or fp16."
                raise conflict("needs mixed precision", name, remedy=remedy)
            why = "" if name == "fp8_base_unet" else "the U-Net only; text encoders are small"
            draft.take(name, "model.quantize", "fp8", why)
