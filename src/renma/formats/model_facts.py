"""What a model on disk is: family, parts, prediction, sizes, and why it could not be trained.

Everything comes from headers and small files, so the answer takes a moment for a model of any size
and needs no torch. (Pickled checkpoints are the exception: only torch's own reader is trusted with
them.) Names of keys: Stability-AI/generative-models, kohya-ss/sd-scripts, ModelSpec 1.0.1.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from renma.config.layer_table import Slot, slots
from renma.config.model import ModelConfig
from renma.core.errors import UserError
from renma.formats import checkpoint, model_parts
from renma.formats.checkpoint import BASE_VERSION, Family
from renma.formats.diffusers_folder import read_json
from renma.formats.model_parts import TEXT, ModelPart
from renma.formats.part_configs import published

Prediction = Literal["epsilon", "v_prediction"]
_NAMES: dict[Family, str] = {"sd1": "SD 1.x", "sd2": "SD 2.x", "sdxl": "SDXL"}
_FORCED = ("v_pred", "ztsnr")
"""Keys without meaning as weights: the habit of v-prediction models for saying what they are."""
_SINGLE = "Give a .safetensors checkpoint or a diffusers folder of SD 1.x, SD 2.x or SDXL."


@dataclass(frozen=True)
class ModelFacts:
    """A model on disk.

    Attributes:
        place: its folder or file.
        family: sd1, sd2 or sdxl.
        prediction: what the U-Net predicts; None if nothing says so.
        parts: by name, in the order vae, text_encoder, text_encoder_2, unet.
        scheduler: the noise schedule, as diffusers writes it.
        tokenizers: folder of each text encoder's tokenizer; None means the one that renma ships.
        metadata: of a single file.
        problem: why it cannot be trained as the options stand, with the remedy; mostly empty.
    """

    place: Path
    family: Family
    prediction: Prediction | None
    parts: dict[str, ModelPart]
    scheduler: dict[str, Any]
    tokenizers: dict[str, Path | None]
    metadata: dict[str, str]
    problem: str = ""

    @property
    def shapes(self) -> dict[str, dict[str, tuple[int, ...]]]:
        """Weight names to shapes of each part, in diffusers' names."""
        return {name: part.shapes for name, part in self.parts.items()}

    def slots(self) -> list[Slot]:
        """Returns every layer that an adapter may change."""
        shapes = self.shapes
        return slots(shapes["unet"], *(shapes.get(part) for part in TEXT))

    @property
    def files(self) -> dict[Path, int]:
        """Files that are read, with the bytes that are needed of each."""
        found: dict[Path, int] = {}
        for part in self.parts.values():
            found[part.file] = found.get(part.file, 0) + part.stored_bytes
        return found

    @property
    def channels(self) -> int:
        """Channels of the U-Net's first level."""
        return self.parts["unet"].config["block_out_channels"][0]

    @property
    def latent_factor(self) -> int:
        """Pixels along one side of a latent."""
        return 2 ** (len(self.parts["vae"].config["block_out_channels"]) - 1)

    @property
    def native_size(self) -> int:
        """Side in pixels that the model was made for."""
        return self.parts["unet"].config["sample_size"] * self.latent_factor

    @property
    def text_layers(self) -> int:
        """Layers of the (first) text encoder."""
        return self.parts["text_encoder"].config["num_hidden_layers"]

    @property
    def base_version(self) -> str:
        """``ss_base_model_version`` of kohya's metadata."""
        known = BASE_VERSION[self.family]
        return f"{known}_v" if self.family != "sdxl" and self.is_v else known

    @property
    def architecture(self) -> str:
        """``modelspec.architecture`` without ``/lora``."""
        if self.family == "sd2":
            return f"stable-diffusion-v2-{'768-v' if self.is_v else '512'}"
        return {"sd1": "stable-diffusion-v1", "sdxl": "stable-diffusion-xl-v1-base"}[self.family]

    @property
    def is_v(self) -> bool:
        """Whether the U-Net predicts velocity instead of noise."""
        return self.prediction == "v_prediction"


def facts(place: Path, model: ModelConfig | None = None, base: Path | None = None) -> ModelFacts:
    """Returns what a model on disk is.

    Args:
        place: a diffusers folder, or a single file.
        model: the ``[model]`` section (default: everything ``auto``).
        base: folder that a relative ``model.vae`` starts from.

    Raises:
        UserError: nothing of it can be read, or it is another kind of model.
    """
    model = model or ModelConfig()
    found = _of_folder(place, model) if place.is_dir() else _of_file(place, model)
    other = model.vae_place(base or Path())
    if other is not None:
        found.parts["vae"] = model_parts.other_vae(other, found.family)
    reason = next(_problems(found, model), "")
    return ModelFacts(**{**vars(found), "problem": reason})


def problem(place: Path, model: ModelConfig | None = None, base: Path | None = None) -> str:
    """Returns why a model cannot be trained as the options stand, or an empty text.

    Raises:
        UserError: as :func:`facts`.
    """
    return facts(place, model, base).problem


def notes(found: ModelFacts, model: ModelConfig) -> list[str]:
    """Returns a sentence for every option of ``[model]`` that has no effect on this model."""
    said = []
    if found.family == "sdxl" and model.clip_skip != 1:
        said.append(
            f"model.clip_skip = {model.clip_skip} has no effect: SDXL always uses the last layer "
            "but one of both text encoders."
        )
    if found.family == "sd2" and model.clip_skip != 1:
        said.append(
            f"model.clip_skip = {model.clip_skip} counts from the layer that SD 2.x was trained "
            "with, which is the last but one already: 1 is what other programs use."
        )
    told = _told_by_files(found)
    if model.prediction != "auto" and told not in (None, model.prediction):
        said.append(
            f"model.prediction = '{model.prediction}', though the model's own files say '{told}'."
        )
    return said


def _of_folder(folder: Path, model: ModelConfig) -> ModelFacts:
    if not (folder / "unet").is_dir():
        raise UserError("holds no U-Net", where=folder, remedy=_SINGLE)
    unet = read_json(folder / "unet" / "config.json")
    family: Family = "sd2" if unet.get("use_linear_projection") else "sd1"
    if unet.get("addition_embed_type") == "text_time":
        family = "sdxl"
    _check_family(folder, family, model)
    scheduler = published(family)["scheduler"]
    if (folder / "scheduler" / "scheduler_config.json").exists():
        scheduler |= read_json(folder / "scheduler" / "scheduler_config.json")
    told = scheduler["prediction_type"]
    prediction = told if model.prediction == "auto" else model.prediction
    tokenizers = {
        part: path
        if (path := folder / part.replace("text_encoder", "tokenizer")).is_dir()
        else None
        for part in TEXT
    }
    parts = model_parts.of_folder(folder, family)
    scheduler["prediction_type"] = prediction
    return ModelFacts(folder, family, prediction, parts, scheduler, tokenizers, {})


def _of_file(path: Path, model: ModelConfig) -> ModelFacts:
    header, metadata = model_parts.read_header(path)
    checkpoint.refuse_refiner(header, path)
    family = checkpoint.family_of(header)
    if family is None:
        raise UserError("is no checkpoint of SD 1.x, SD 2.x or SDXL", where=path, remedy=_SINGLE)
    _check_family(path, family, model)
    parts = model_parts.of_file(path, header, family)
    metadata |= {name: "" for name in _FORCED if name in header}
    prediction = model.prediction if model.prediction != "auto" else _told(family, metadata)
    scheduler = published(family)["scheduler"]
    scheduler["prediction_type"] = prediction or "epsilon"
    if "ztsnr" in header:
        scheduler |= {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    if family == "sd2" and prediction == "v_prediction":  # the model of 768 pixels
        parts["unet"].config.update(sample_size=96, upcast_attention=True)
    return ModelFacts(path, family, prediction, parts, scheduler, dict.fromkeys(TEXT), metadata)


def _told(family: Family, metadata: dict[str, str]) -> Prediction | None:
    """Returns what a single file says about its prediction; None if it says nothing."""
    named = metadata.get("modelspec.prediction_type", "").lower()
    if named in {"v", "v_prediction", "velocity"} or "v_pred" in metadata:
        return "v_prediction"
    if named in {"epsilon", "eps"}:
        return "epsilon"
    architecture = metadata.get("modelspec.architecture", "")
    if family == "sd2":
        known: dict[str, Prediction] = {"768-v": "v_prediction", "v2-512": "epsilon"}
        return next((p for part, p in known.items() if part in architecture), None)
    return "epsilon"


def _told_by_files(found: ModelFacts) -> str | None:
    if found.place.is_dir():
        path = found.place / "scheduler" / "scheduler_config.json"
        return read_json(path).get("prediction_type", "epsilon") if path.exists() else None
    return _told(found.family, found.metadata)


def _check_family(place: Path, family: Family, model: ModelConfig) -> None:
    if model.family not in ("auto", family):
        raise UserError(
            f"is a model of {_NAMES[family]}, but model.family = '{model.family}'",
            where=place,
            remedy="Leave model.family at 'auto', or name another model.",
        )


def _problems(found: ModelFacts, model: ModelConfig) -> Iterator[str]:
    needed = [
        "vae",
        "text_encoder",
        "unet",
        *(["text_encoder_2"] if found.family == "sdxl" else []),
    ]
    for part in needed:
        if part not in found.parts:
            remedy = "Name one: model.vae." if part == "vae" else "Give a complete checkpoint."
            yield f"holds no {part.replace('_', ' ')}. {remedy}"
            return
    unet, schedule = found.parts["unet"].config, found.scheduler
    if unet.get("in_channels") != 4:
        kind = {9: "inpainting", 8: "image-to-image", 5: "depth", 7: "upscaling"}
        named = kind.get(unet.get("in_channels", 0), "another")
        yield f"is of {named} kind: its U-Net takes {unet.get('in_channels')} channels, not 4"
    if found.prediction is None:
        yield (
            "does not say whether it predicts noise or velocity. Set model.prediction = "
            "'v_prediction' (models of 768 pixels) or 'epsilon' (the base models of 512 pixels)."
        )
    elif found.prediction not in ("epsilon", "v_prediction"):
        yield f"predicts '{found.prediction}'; epsilon and v_prediction can be trained"
    if schedule.get("beta_schedule") != "scaled_linear" or schedule.get("trained_betas"):
        yield f"has the noise schedule '{schedule.get('beta_schedule')}', not SD's scaled_linear"
    if found.family != "sdxl" and model.clip_skip > found.text_layers:
        yield (
            f"has {found.text_layers} text encoder layers, fewer than "
            f"model.clip_skip = {model.clip_skip}"
        )
