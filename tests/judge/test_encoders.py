"""G3: encoders from local folders, beside transformers' own models with tiny random weights."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import (
    AutoTokenizer,
    BitImageProcessorPil,
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    Dinov2Config,
    Dinov2Model,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    ViTConfig,
    ViTImageProcessorPil,
    ViTModel,
)

from renma.core.errors import UserError
from renma.judge.encoders._base import encoder_of, kinds
from renma.judge.encoders.clip import Clip
from renma.judge.encoders.dino import Dino

TOKENS = Path(__file__).parents[2] / "src" / "renma" / "assets" / "mame" / "tokenizer"
VISION = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2,
          "num_attention_heads": 2, "image_size": 32, "patch_size": 8}  # fmt: skip
SIZES = [(32, 32), (90, 40), (33, 71), (20, 20), (128, 128)]


def pictures(*modes: str) -> list[Image.Image]:
    rng = np.random.default_rng(0)
    found = []
    for number, (width, height) in enumerate(SIZES):
        mode = modes[number % len(modes)] if modes else "RGB"
        small = rng.integers(0, 256, (6, 6, 4), dtype=np.uint8)
        found.append(Image.fromarray(small, "RGBA").resize((width, height)).convert(mode))
    return found


def shaken(model: torch.nn.Module) -> torch.nn.Module:
    """Weights large enough that every part of the model counts."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.3)
    return model.eval()


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory) -> Path:
    """A whole CLIP of two layers that reads mame's words."""
    folder = tmp_path_factory.mktemp("models") / "tiny-clip"
    words = AutoTokenizer.from_pretrained(TOKENS)
    text = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2,
            "num_attention_heads": 2, "vocab_size": len(words), "max_position_embeddings": 12,
            "bos_token_id": words.bos_token_id, "eos_token_id": words.eos_token_id}  # fmt: skip
    config = CLIPConfig(text_config=text, vision_config=VISION, projection_dim=10)
    shaken(CLIPModel(config)).save_pretrained(folder)
    size = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
    CLIPImageProcessorPil(**size).save_pretrained(folder)
    for file in TOKENS.iterdir():
        shutil.copy(file, folder)
    return folder


def dino_folder(folder: Path, kind: str) -> Path:
    classes = {
        "dinov2": (Dinov2Config, Dinov2Model),
        "dinov2_with_registers": (Dinov2WithRegistersConfig, Dinov2WithRegistersModel),
        "vit": (ViTConfig, ViTModel),
    }
    config, model = classes[kind]
    shaken(model(config(**{**VISION, "intermediate_size": 64}))).save_pretrained(folder)
    if kind == "vit":
        ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    else:
        crop = {"size": {"shortest_edge": 36}, "crop_size": {"height": 32, "width": 32}}
        BitImageProcessorPil(**crop).save_pretrained(folder)
    return folder


def by_hand(picture: Image.Image, edge: int, side: int, mean: list[float], std: list[float]):
    """The published preparation: shorter side to ``edge``, the middle square, normalised."""
    scale = edge / min(picture.size)
    size = [int(edge * each / min(picture.size)) for each in picture.size]
    assert min(size) == edge
    assert scale > 0
    scaled = picture.resize((size[0], size[1]), Image.Resampling.BICUBIC)
    left, top = (size[0] - side) // 2, (size[1] - side) // 2
    middle = np.asarray(scaled.crop((left, top, left + side, top + side)), np.float32) / 255
    return torch.from_numpy(((middle - mean) / std).transpose(2, 0, 1)).float()


def test_clip_sees_what_transformers_clip_sees(clip_folder):
    """G3. Features of pictures of any shape, in the space shared with texts."""
    model = CLIPModel.from_pretrained(clip_folder, local_files_only=True)
    processor = CLIPImageProcessorPil.from_pretrained(clip_folder)
    inputs = processor(images=pictures(), return_tensors="pt")
    expected = model.get_image_features(**inputs).pooler_output.detach().numpy()
    found = encoder_of(f"clip:{clip_folder}", "cpu").encode(pictures())
    assert found.dtype == np.float32
    assert found.shape == (5, 10)
    assert np.allclose(found, expected, atol=1e-5)


def test_clip_prepares_pictures_as_published(clip_folder):
    """G3. Not by transformers' word alone: the recipe written out with Pillow."""
    mean, std = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
    pixels = torch.stack([by_hand(each, 32, 32, mean, std) for each in pictures()])
    model = CLIPModel.from_pretrained(clip_folder, local_files_only=True)
    expected = model.get_image_features(pixel_values=pixels).pooler_output.detach().numpy()
    assert np.allclose(Clip(clip_folder, "cpu").encode(pictures()), expected, atol=1e-4)


def test_clip_reads_what_transformers_clip_reads(clip_folder):
    """G3. Texts, also empty ones and those that are cut at the model's length."""
    texts = ["smile", "pink hair, glasses", "", ", ".join(["smile"] * 30)]
    model = CLIPModel.from_pretrained(clip_folder, local_files_only=True)
    words = AutoTokenizer.from_pretrained(TOKENS)
    encoder = Clip(clip_folder, "cpu")
    rows = []
    for text in texts:
        ids = words(text, truncation=True, max_length=12, return_tensors="pt")["input_ids"]
        rows.append(model.get_text_features(input_ids=ids).pooler_output.detach().numpy()[0])
    assert np.allclose(encoder.encode_texts(texts), rows, atol=1e-5)
    assert encoder.encode_texts([]).shape == (0, 10)


def test_following_is_clips_own_logit(clip_folder):
    """G3. Each picture beside its own prompt: the diagonal of CLIP's logits over its scale."""
    texts = ["smile", "pink hair", "glasses", "wink", "person"]
    encoder = Clip(clip_folder, "cpu")
    model = CLIPModel.from_pretrained(clip_folder, local_files_only=True)
    inputs = CLIPImageProcessorPil.from_pretrained(clip_folder)(
        images=pictures(), return_tensors="pt"
    )
    words = AutoTokenizer.from_pretrained(TOKENS)
    ids = [words(text, return_tensors="pt")["input_ids"] for text in texts]
    scale = model.logit_scale.exp().item()
    expected = [
        model(pixel_values=inputs["pixel_values"][i : i + 1], input_ids=one).logits_per_image.item()
        for i, one in enumerate(ids)
    ]
    assert np.allclose(encoder.following(pictures(), texts) * scale, expected, atol=1e-4)


def test_the_image_tower_alone_reads_no_text(tmp_path):
    """G3. It encodes; asked for texts it says what is missing."""
    model = shaken(CLIPVisionModelWithProjection(CLIPVisionConfig(**VISION, projection_dim=6)))
    model.save_pretrained(tmp_path)
    processor = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=32)
    processor.save_pretrained(tmp_path)
    inputs = processor(images=pictures(), return_tensors="pt")
    encoder = encoder_of(str(tmp_path), "cpu")
    assert isinstance(encoder, Clip)
    assert not encoder.reads_text
    expected = model(**inputs).image_embeds.detach().numpy()
    assert np.allclose(encoder.encode(pictures()), expected, atol=1e-5)
    with pytest.raises(UserError, match="image tower alone"):
        encoder.encode_texts(["smile"])


@pytest.mark.parametrize("kind", ["dinov2", "dinov2_with_registers", "vit"])
def test_dino_is_transformers_class_token(tmp_path, kind):
    """G3. The class token after the last norm, as transformers' own classes compute it."""
    folder = dino_folder(tmp_path / "tiny", kind)
    model = {"dinov2": Dinov2Model, "vit": ViTModel}.get(kind, Dinov2WithRegistersModel)
    processor = ViTImageProcessorPil if kind == "vit" else BitImageProcessorPil
    inputs = processor.from_pretrained(folder)(images=pictures(), return_tensors="pt")
    with torch.no_grad():
        states = model.from_pretrained(folder)(**inputs).last_hidden_state
    encoder = encoder_of(f"dino:{folder}", "cpu")
    assert encoder.encode(pictures()).dtype == np.float32
    assert np.allclose(encoder.encode(pictures()), states[:, 0].numpy(), atol=1e-5)
    assert encoder.name.startswith("DINOv2" if "v2" in kind else "DINO (tiny)")


def test_opening_says_nothing_and_leaves_the_loudness_as_it_was(tmp_path):
    """G3. ViT's pooler is left out on purpose; transformers' table about it is no news."""
    from transformers.utils import logging as loudness

    class Kept(logging.Handler):
        def __init__(self) -> None:
            super().__init__()
            self.lines: list[str] = []

        def emit(self, record: logging.LogRecord) -> None:
            self.lines.append(record.getMessage())

    kept, before = Kept(), loudness.get_verbosity()
    folder = dino_folder(tmp_path / "tiny", "vit")
    loudness.add_handler(kept)
    loudness.set_verbosity_warning()  # a command line that ran before has made it quieter
    try:
        ViTModel.from_pretrained(folder, add_pooling_layer=False)
        assert kept.lines  # else nothing would be shown by what follows
        kept.lines.clear()
        Dino(folder, "cpu")
        assert loudness.get_verbosity() == loudness.WARNING
    finally:
        loudness.remove_handler(kept)
        loudness.set_verbosity(before)
    assert kept.lines == []


def test_batches_and_order_change_nothing(clip_folder):
    """G3. 40 pictures in batches of 16 are the same rows as one by one; none give no rows."""
    encoder = Clip(clip_folder, "cpu")
    some = pictures() * 8
    alone = np.concatenate([encoder.encode([each]) for each in pictures()])
    assert np.allclose(encoder.encode(some), np.tile(alone, (8, 1)), atol=1e-5)
    assert encoder.encode([]).shape == (0, 10)


def test_transparency_is_put_on_white(clip_folder):
    """G3. Colours hidden under alpha 0 do not count."""
    clear = Image.new("RGBA", (40, 40), (200, 0, 0, 0))
    grey = Image.new("L", (40, 40), 255)
    rows = Clip(clip_folder, "cpu").encode([clear, grey, Image.new("RGB", (40, 40), "white")])
    assert np.allclose(rows[0], rows[2], atol=1e-6)
    assert np.allclose(rows[1], rows[2], atol=1e-6)


def test_kind_is_told_by_the_folder(clip_folder, tmp_path):
    """G3. `--encoder FOLDER` without a kind."""
    assert isinstance(encoder_of(str(clip_folder), "cpu"), Clip)
    assert isinstance(encoder_of(str(dino_folder(tmp_path / "d", "dinov2")), "cpu"), Dino)
    assert {"clip", "dino", "wd14"} <= set(kinds())


def damaged(clip_folder: Path, to: Path, how: str) -> Path:
    shutil.copytree(clip_folder, to)
    if how == "weights missing":
        tensors = load_file(to / "model.safetensors")
        del tensors["visual_projection.weight"]
        save_file(tensors, to / "model.safetensors", {"format": "pt"})
    elif how == "other shape":
        tensors = load_file(to / "model.safetensors")
        tensors["visual_projection.weight"] = torch.ones(10, 7)
        save_file(tensors, to / "model.safetensors", {"format": "pt"})
    elif how == "no preparation":
        (to / "preprocessor_config.json").unlink()
    elif how == "cut off":
        file = to / "model.safetensors"
        file.write_bytes(file.read_bytes()[:500])
    elif how == "no weights":
        (to / "model.safetensors").unlink()
    elif how == "no json":
        (to / "config.json").write_text("{")
    elif how == "another model":
        (to / "config.json").write_text(json.dumps({"model_type": "bert"}))
    return to


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("weights missing", "lacks 1 weights of a CLIPModel, such as visual_projection.weight"),
        ("other shape", "lacks 1 weights"),
        ("no preparation", "preprocessor_config.json"),
        ("cut off", "cannot be opened"),
        ("no weights", "cannot be opened"),
        ("no json", "is not JSON"),
        ("another model", "holds no CLIP"),
    ],
)
def test_damaged_folders_are_one_line(clip_folder, tmp_path, how, says, capfd):
    """G3. What transformers would fill with random numbers is refused; nothing else is printed."""
    folder = damaged(clip_folder, tmp_path / "clip", how)
    with pytest.raises(UserError, match=says) as caught:
        encoder_of(f"clip:{folder}", "cpu")
    assert "\n" not in caught.value.line()
    assert str(folder) in caught.value.line()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("nowhere", "there is no such encoder"),
        ("clip:nowhere", "there is no such encoder"),
        ("dnio:nowhere", "Did you mean 'dino'"),
        ("clip", "needs a folder"),
        ("empty", "Known are clip: "),
        ("dino:empty", "holds no DINO"),
        ("wd14:empty", "holds no .onnx file"),
    ],
)
def test_mistakes_are_one_line(tmp_path, monkeypatch, text, says):
    """G3. A user's mistake: what, where, what to do."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=says):
        encoder_of(text, "cpu")


def test_a_device_that_is_not_there(clip_folder):
    """G3. No silent fall-back to the processor."""
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    with pytest.raises(UserError, match="no CUDA device"):
        encoder_of(f"clip:{clip_folder}", "cuda")
