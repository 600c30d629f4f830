"""C2: captions in words by transformers' captioners, from local folders only.

The models are tiny ones of the real classes with random weights, saved by the test; what renma
writes must be what transformers itself says of each picture alone.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch
from PIL import Image

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # transformers' own, at import
    from transformers import (
        BartTokenizer,
        BertTokenizer,
        Blip2Config,
        Blip2ForConditionalGeneration,
        Blip2Processor,
        BlipConfig,
        BlipForConditionalGeneration,
        BlipProcessor,
        Florence2Config,
        Florence2ForConditionalGeneration,
        Florence2Processor,
        GitConfig,
        GitForCausalLM,
        GitProcessor,
        GPT2Tokenizer,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )
    from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from renma.caption import describe
from renma.caption.captioners import _base
from renma.config.caption.describe import DescribeOptions
from renma.core.errors import Interrupted, UserError

SMALL = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 16,
}
VIEW = {"image_size": 32, "patch_size": 16, **SMALL}
WORDS = ["a", "cat", "dog", "red", "blue", "on", "the", "with", "picture", "of", "sits"]
ENDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LETTERS = {
    w: i
    for i, w in enumerate(
        ["<s>", "<pad>", "</s>", "<unk>", *map(chr, range(33, 127)), "Ġ", "<image>"]
    )
}
QUESTION = (
    "{% for m in messages %}{% for c in m['content'] %}{{ '<image>' if c['type'] == 'image' else c['text'] }}"
    "{% endfor %}{% endfor %}:"
)
SQUARE = {"height": 32, "width": 32}


def bert() -> BertTokenizer:
    return BertTokenizer(vocab={word: i for i, word in enumerate([*ENDS, *WORDS])})


def gpt() -> GPT2Tokenizer:
    return GPT2Tokenizer(
        vocab=LETTERS, merges=[], bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="<pad>",
        additional_special_tokens=["<image>"],
    )  # fmt: skip


def blip():
    words, ids = (
        bert(),
        {"bos_token_id": 2, "sep_token_id": 3, "eos_token_id": 3, "pad_token_id": 0},
    )
    text = {
        "vocab_size": len(words),
        "encoder_hidden_size": 16,
        "max_position_embeddings": 64,
        **ids,
        **SMALL,
    }
    config = BlipConfig(text_config=text, vision_config=VIEW, projection_dim=16)
    return BlipForConditionalGeneration(config), BlipProcessor(
        BlipImageProcessorPil(size=SQUARE), words
    )


def git():
    words, ids = bert(), {"bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0}
    config = GitConfig(
        vocab_size=len(words), max_position_embeddings=64, vision_config=VIEW, **ids, **SMALL
    )
    pixels = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=SQUARE)
    return GitForCausalLM(config), GitProcessor(pixels, words)


def blip2():
    processor = Blip2Processor(BlipImageProcessorPil(size=SQUARE), gpt(), num_query_tokens=4)
    letters = {"vocab_size": len(processor.tokenizer)}
    text = {
        "model_type": "opt", "word_embed_proj_dim": 16, "ffn_dim": 16, "max_position_embeddings": 256,
        "bos_token_id": 2, "eos_token_id": 2, "pad_token_id": 1, **letters, **SMALL,
    }  # fmt: skip
    config = Blip2Config(
        vision_config=VIEW,
        qformer_config={
            "encoder_hidden_size": 16,
            "cross_attention_frequency": 1,
            **letters,
            **SMALL,
        },
        text_config=text,
        num_query_tokens=4,
        image_token_index=LETTERS["<image>"],
    )
    return Blip2ForConditionalGeneration(config), processor


def llava():
    pixels = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=SQUARE)
    processor = LlavaProcessor(
        pixels, gpt(), patch_size=16, vision_feature_select_strategy="default",
        num_additional_image_tokens=1, chat_template=QUESTION,
    )  # fmt: skip
    text = {
        "model_type": "llama", "vocab_size": len(LETTERS), "num_key_value_heads": 2,
        "bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1, **SMALL,
    }  # fmt: skip
    config = LlavaConfig(
        vision_config={"model_type": "clip_vision_model", "projection_dim": 16, **VIEW},
        text_config=text,
        image_token_index=LETTERS["<image>"],
    )
    return LlavaForConditionalGeneration(config), processor


def florence2():
    tokenizer = BartTokenizer(
        vocab=LETTERS, merges=[], extra_special_tokens={"image_token": "<image>"}
    )
    pixels = CLIPImageProcessorPil(
        size={"height": 64, "width": 64}, do_center_crop=False, image_seq_length=5
    )
    processor = Florence2Processor(pixels, tokenizer, num_additional_image_tokens=1)
    text = {
        "model_type": "bart", "vocab_size": len(processor.tokenizer), "d_model": 16,
        "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
        "decoder_attention_heads": 2, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16,
        "max_position_embeddings": 256, "bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2,
        "decoder_start_token_id": 2,
    }  # fmt: skip
    view = {
        "embed_dim": [8, 8, 8, 16], "depths": [1, 1, 1, 1], "num_heads": [1, 1, 1, 2],
        "num_groups": [1, 1, 1, 2], "projection_dim": 16, "window_size": 2,
    }  # fmt: skip
    config = Florence2Config(
        text_config=text, vision_config=view, image_token_id=processor.image_token_id
    )
    return Florence2ForConditionalGeneration(config), processor


KINDS = {"blip": blip, "git": git, "blip2": blip2, "llava": llava, "florence2": florence2}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RENMA_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One folder a kind, as transformers saves it. Weights are wide, so that pictures matter."""
    place = tmp_path_factory.mktemp("models")
    torch.set_num_threads(1)
    for kind, make in KINDS.items():
        torch.manual_seed(len(kind))
        model, processor = make()
        with torch.no_grad():
            for tensor in model.parameters():
                tensor.normal_(0, 0.3)
        model.save_pretrained(place / kind)
        processor.save_pretrained(place / kind)
    return {kind: place / kind for kind in KINDS}


class Told:
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.warned: list[str] = []

    def event(self, kind: str, **data) -> None:
        if kind == "warned":
            self.warned.append(data["text"])

    def line(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pics"
    folder.mkdir()
    for index, colour in enumerate(["red", "blue", "white"]):
        picture = Image.new("RGB", (48, 40), colour)
        picture.paste("black", (8 * index, 4, 8 * index + 20, 30))
        picture.save(folder / f"{index}.png")
    return folder


def described(folder: Path, model: Path, **options) -> Told:
    told = Told()
    short = {"max_length": 8, "min_length": 2, "on_existing": "replace"}
    describe.run(DescribeOptions(folder=folder, model=model, **{**short, **options}), told)
    return told


def captions(folder: Path) -> list[str]:
    return [path.read_text(encoding="utf-8").strip() for path in sorted(folder.glob("*.txt"))]


def counted(told: Told) -> str:
    return next(line for line in told.lines if " known" in line)


@pytest.mark.parametrize("prompt", ["", "a picture of"])
def test_blip_says_what_transformers_says(models, pictures, prompt):
    """C2. Beam search, as transformers does it with one picture at a time."""
    told = described(pictures, models["blip"], prompt=prompt, num_beams=2)
    model = BlipForConditionalGeneration.from_pretrained(models["blip"]).eval()
    processor = BlipProcessor.from_pretrained(models["blip"])
    expected = []
    for path in sorted(pictures.glob("*.png")):
        inputs = processor(Image.open(path), prompt or None, return_tensors="pt")
        ids = model.generate(
            **inputs, num_beams=2, do_sample=False, max_new_tokens=8, min_new_tokens=2
        )
        expected.append(processor.decode(ids[0], skip_special_tokens=True).strip())
    assert captions(pictures) == expected
    assert counted(told) == "blip: 3 pictures, 3 run, 0 known"
    assert all(text.startswith(prompt) for text in expected)


@pytest.mark.parametrize("kind", ["git", "blip2", "llava", "florence2"])
def test_other_captioners_are_run_natively(models, pictures, kind):
    """C2. One file each in captioners/; what is drawn is the same whatever the order and batch."""
    asked = {"method": "nucleus", "seed": 3, "top_p": 0.9}
    described(pictures, models[kind], batch=4, **asked)
    once = captions(pictures)
    assert len(set(once)) == 3
    for index in (2, 0):  # other batches, another order
        alone = pictures.with_name(f"{kind}{index}")
        alone.mkdir()
        (pictures / f"{index}.png").rename(alone / "x.png")
        (alone.parent / "cache").rename(alone.parent / f"cache{kind}{index}")
        assert counted(described(alone, models[kind], **asked)).endswith("1 run, 0 known")
        assert captions(alone) == [once[index]]


def test_llava_is_asked_by_its_template(models):
    """C2. What was asked is no part of the caption, and the question reaches the model."""
    way = _base.way_of(models["llava"])
    _, processor = way.load(models["llava"], {"local_files_only": True})
    inputs = way.ask(processor, [Image.new("RGB", (32, 32))], "What?")
    assert processor.tokenizer.decode(inputs["input_ids"][0]) == "<image>" * 4 + "What?:"
    said = torch.cat([inputs["input_ids"], torch.tensor([[LETTERS["h"], LETTERS["i"], 2]])], 1)
    assert way.read(processor, said, inputs, "What?") == ["hi"]


def test_a_killed_run_goes_on_and_a_second_one_opens_no_model(models, pictures, monkeypatch):
    """C2. What was said is kept: of picture, model and manner."""
    ran = []
    answer = _base.Captioner.captions

    def counting(self, pictures):
        if len(ran) == 2:
            raise KeyboardInterrupt
        ran.append(len(pictures))
        return answer(self, pictures)

    monkeypatch.setattr(_base.Captioner, "captions", counting)
    with pytest.raises(Interrupted, match="captions so far are kept"):
        described(pictures, models["blip"], batch=1)
    monkeypatch.setattr(_base.Captioner, "captions", answer)
    assert counted(described(pictures, models["blip"])).endswith("1 run, 2 known")
    assert counted(described(pictures, models["blip"], num_beams=1)).endswith("3 run, 0 known")
    monkeypatch.setattr(_base.Captioner, "__init__", lambda *_: pytest.fail("opened again"))
    assert counted(described(pictures, models["blip"])).endswith("0 run, 3 known")


def test_captions_meet_what_is_there(models, pictures, tmp_path):
    (pictures / "0.txt").write_text("1girl, hat\n")
    described(pictures, models["blip"], on_existing="prepend")
    said = captions(pictures)
    assert said[0].endswith(", 1girl, hat")
    out = tmp_path / "meta.json"
    described(pictures, models["blip"], out=out)
    assert f'"caption": "{said[0].removesuffix(", 1girl, hat")}"' in out.read_text()


def test_a_broken_picture_is_named(models, pictures):
    (pictures / "bad.png").write_bytes(b"no")
    told = described(pictures, models["git"])
    assert len(captions(pictures)) == 3
    assert "bad.png" in told.warned[0]


def test_mistakes_are_one_line(models, pictures, tmp_path):
    """C2. A folder that is no captioner, options that do nothing, a device that is not there."""
    with pytest.raises(UserError, match=r"there is no config\.json"):
        described(pictures, tmp_path / "nothing")
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(UserError, match="'bert' is no captioner"):
        described(pictures, other)
    (other / "config.json").write_text('{"model_type": "blip"}')
    with pytest.raises(UserError, match="cannot be opened"):
        described(pictures, other)
    with pytest.raises(UserError, match="min_length 9 is more"):
        DescribeOptions(folder=pictures, model=other, min_length=9, max_length=8)
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="no CUDA device"):
            described(pictures, models["blip"], device="cuda")
    assert "--seed has no effect" in described(pictures, models["blip"], seed=1).warned[0]
