"""Every rule of the preflight finds what it is for, and nothing in a project without it (G2)."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from renma.config import load_run
from renma.core.errors import UserError
from renma.train import rules
from renma.train.plan import Prepared, prepare
from renma.train.rules import concepts, copier, erase, relora

ROOT = Path(__file__).parents[2]
TRAIN, REG = "train/2_aa12 person", "reg/1_person"
GOOD = ("train.max_steps=60", "output.trigger=aa12", "data.min_bucket_reso=32")
"""Beside the project's own; without anything odd."""


def checked(project: Path, *values: str) -> Prepared:
    return prepare(load_run(project / "run.toml", [*GOOD, *values]), project)


def found(project: Path, *values: str) -> set[str]:
    return {finding.rule for finding in checked(project, *values).plan.findings}


def resized(pattern: str, size: tuple[int, int], mode: str = "RGB") -> Callable[[Path], object]:
    def change(project: Path) -> None:
        for path in project.glob(pattern):
            Image.open(path).convert(mode).resize(size).save(path)

    return change


def captions(text: str, folder: str = TRAIN) -> Callable[[Path], object]:
    return lambda p: [path.write_text(text) for path in (p / folder).glob("*.txt")]


def copied(source: str, target: str) -> Callable[[Path], object]:
    return lambda p: shutil.copy(p / source, p / target)


def nothing(project: Path) -> None:
    """Changes nothing: the options alone are odd."""


def fewer_reg(project: Path) -> None:
    for name in ("black.png", "black.txt"):
        (project / REG / name).unlink()


def other_ending(project: Path) -> None:
    for path in (project / TRAIN).glob("*.txt"):
        path.rename(path.with_suffix(".caption"))


def no_words(project: Path) -> None:
    for path in (project / TRAIN).glob("*.txt"):
        path.unlink()


def lora_file(project: Path) -> None:
    """A file with one layer of mame's own shape."""
    import torch

    from renma.formats import safetensors

    slot = next(s for s in checked(project).footing.table if s.path.endswith("attn1.to_q"))
    down, up = torch.zeros(2, slot.inputs), torch.zeros(slot.outputs, 2)
    tensors = {f"{slot.name}.lora_down.weight": down, f"{slot.name}.lora_up.weight": up}
    safetensors.save(project / "l.safetensors", tensors, {})


SQUARE = resized(f"{TRAIN}/*.png", (64, 64))
WITHOUT_REG = "data.reg_folder=''"
CASES = {
    "model-options": (nothing, ["model.prediction=v_prediction"]),
    "slow-half": (nothing, ["train.precision=fp16", "train.device=cpu"]),
    "needless-checkpointing": (nothing, ["train.gradient_checkpointing=true"]),
    "quantised-toy": (nothing, ["model.quantize=nf4"]),
    "quantised-merge": (lora_file, ["model.quantize=nf4", "start.base_weights=['l.safetensors']"]),
    "vae-batch-idle": (nothing, ["data.vae_batch_size=4", "train.device=cpu"]),
    "more-threads-than-cores": (nothing, ["train.threads=9999"]),
    "clip-skip": (nothing, ["model.clip_skip=3"]),
    "doubles": (copied(f"{TRAIN}/red.png", f"{TRAIN}/again.png"), []),
    "on-both-sides": (copied(f"{TRAIN}/red.png", f"{REG}/again.png"), []),
    "transparent": (resized(f"{TRAIN}/*.png", (64, 64), "RGBA"), []),
    "background-idle": (nothing, ["data.background=[0,0,0]"]),
    "small-pictures": (resized(f"{TRAIN}/*.png", (32, 32)), []),
    "tiny-buckets": (resized(f"{TRAIN}/*.png", (32, 32)), ["data.resolution=128", "data.bucket_no_upscale=true"]),
    "never-seen": (nothing, ["train.max_steps=1"]),
    "rarely-seen": (nothing, ["train.max_steps=6"]),
    "often-seen": (nothing, ["train.max_steps=9000"]),
    "regularisation-left-out": (nothing, ["train.max_steps=1"]),
    "regularisation-repeated": (lambda p: ((p / TRAIN).rename(p / "train/30_aa12 person"), fewer_reg(p)), []),
    "batch-too-large": (nothing, ["data.batch_size=40"]),
    "far-from-native": (None, []),
    "bucket-limit": (resized(f"{TRAIN}/*.png", (256, 64)), ["data.max_bucket_reso=64"]),
    "bucket-limits-idle": (nothing, ["data.enable_bucket=false"]),
    "not-bucketed": (resized(f"{TRAIN}/*.png", (256, 64)), ["data.enable_bucket=false"]),
    "long-captions": (captions("aa12, " + "long hair, " * 40), []),
    "needless-room": (nothing, ["model.max_tokens=225"]),
    "needless-weights": (nothing, ["model.weighted_captions=true"]),
    "dropout-never-comes": (nothing, ["data.caption_dropout_every_n_epochs=61"]),
    "captions-dropped": (nothing, ["data.caption_dropout_every_n_epochs=1"]),
    "no-words": (no_words, [f"data.datasets=[{{subsets=[{{image_dir='{TRAIN}'}}]}}]", "data.train_folder=''", WITHOUT_REG]),
    "another-ending": (other_ending, []),
    "trigger-missing": (lambda p: (p / TRAIN / "red.txt").write_text("smile, red"), []),
    "trigger-in-regularisation": (captions("aa12, person", REG), []),
    "trigger-is-a-word": (None, []),
    "first-tag-moves": (nothing, ["data.keep_tokens=0"]),
    "all-tags-kept": (nothing, ["data.keep_tokens=9"]),
    "keep-tokens-idle": (nothing, ["data.shuffle_caption=false"]),
    "pushed-out-of-front": (nothing, ["data.caption_prefix='masterpiece, best quality,'"]),
    "marks-as-text": (captions("aa12, person ||| {smile|frown}"), []),
    "class-tokens-idle": (nothing, [f"data.datasets=[{{subsets=[{{image_dir='{TRAIN}',class_tokens='cat'}}]}}]", "data.train_folder=''", WITHOUT_REG]),
    "token-warm-up": (nothing, ["data.token_warmup_step=1000"]),
    "mirrored-sides": (captions("aa12, right hand up"), ["data.flip_aug=true"]),
    "changed-colours": (nothing, ["data.color_aug=true"]),
    "strong-scale": (nothing, ["adapter.alpha=9"]),
    "weak-scale": (nothing, ["adapter={rank=32,alpha=1}"]),
    "rank-beyond-layers": (nothing, ["adapter={rank=300,alpha=300}"]),
    "mostly-dropped": (nothing, ["adapter.dropout=0.9"]),
    "adapter-idle": (nothing, ["adapter.dora_norm_gradient=true"]),
    "convolutions-idle": (nothing, ["adapter.conv_rank=8"]),
    "layers-idle": (nothing, ["adapter.blocks.mid_rates=0.5", "train.unet=false"]),
    "file-decides": (lora_file, ["start.weights='l.safetensors'", "start.ranks_from_file=true"]),
    "ranks-unmeasured": (nothing, ["adapter={algo='dylora',rank=4}"]),
    "rates-and-schedule": (nothing, ["optimizer.learning_rate=0.5"]),
    "eager-text-encoder": (None, []),
    "objective": (nothing, ["objective.huber_c=0.5"]),
    "prior-idle": (nothing, [WITHOUT_REG, "objective.prior_preservation=true"]),
    "two-lengths": (nothing, ["train.max_epochs=9"]),
    "never-saved": (nothing, ["train.save_every_steps=61"]),
    "nothing-to-keep": (nothing, ["train.keep_checkpoints=3", "train.save_every_steps=0"]),
    "words-left-out": (nothing, ["output.metadata=none", "output.title=A cat", "output.tags=a, b"]),
    "only-the-last": (nothing, ["train.save_every_steps=0", "train.max_steps=1200"]),
    "saved-too-often": (nothing, ["train.save_every_steps=1", "train.max_steps=150"]),
    "no-room": (None, []),
    "previews-idle": (nothing, ["sample.every_steps=10"]),
    "trigger-not-drawn": (nothing, ["sample.every_steps=10", "sample.prompts=['a cat']"]),
    "never-measured": (nothing, ["data.validation_split=0.3", "train.validate_every_steps=61"]),
    "mostly-held-out": (nothing, ["data.validation_split=0.6"]),
    "nothing-held-out": (nothing, ["train.validate_every_steps=5"]),
    "stop-idle": (nothing, ["stop.patience=2"]),
    "never-judged": (nothing, ["stop.every_checkpoints=1", "train.save_every_steps=0"]),
    "never-stops": (nothing, ["stop.every_checkpoints=1", "train.save_every_steps=20", "judge.trigger_prompts=['aa12']"]),
    "nothing-to-judge-by": (nothing, ["stop.every_checkpoints=1", "output.trigger="]),
    "dear-judging": (nothing, ["stop.every_checkpoints=1", "judge.trigger_prompts=['aa12']"]),
    "best-not-kept": (nothing, ["stop.every_checkpoints=1", "stop.keep_best=false", "train.keep_checkpoints=2"]),
}  # fmt: skip
REFUSED = {
    "objective-impossible": ["objective.zero_terminal_snr=true"],
    "pure-noise-sampler": ["model.prediction=v_prediction", "objective.zero_terminal_snr=true", "sample.prompts=['aa12 --ss heun']", "sample.every_steps=9"],
}  # fmt: skip


ELSEWHERE = {rule.id for rule in (*concepts.RULES, *copier.RULES, *erase.RULES, *relora.RULES)}
"""Rules with cases in files of their own: test_check_rules_copier.py, test_erase_run.py,
test_relora_plan.py."""


def test_every_rule_has_a_case_and_says_why():
    ids = [rule.id for rule in rules.ALL]
    assert len(ids) == len(set(ids)) >= 50
    assert CASES.keys() | REFUSED.keys() == set(ids) - ELSEWHERE
    errors = {rule.id for rule in rules.ALL if rule.level == "error"}
    assert errors - ELSEWHERE == REFUSED.keys()
    for rule in rules.ALL:
        assert rule.about.endswith(".")
        assert rule.reason.endswith(".")


def test_a_good_project_is_not_called_odd(project: Path):
    SQUARE(project)
    assert found(project) == set()


@pytest.mark.parametrize("rule", [rule for rule, (change, _) in CASES.items() if change])
def test_found_where_it_is_and_not_elsewhere(project: Path, rule: str):
    change, values = CASES[rule]
    SQUARE(project)
    assert rule not in found(project)
    assert change is not None
    change(project)
    assert rule in found(project, *values)


LONG = captions("aa12, " + "long hair, " * 40)
CLEAR = resized(f"{TRAIN}/*.png", (64, 64), "RGBA")
WITH_EFFECT = {
    "needless-room": [
        (LONG, ["model.max_tokens=225"]),
        (nothing, ["model.max_tokens=75"]),
        (nothing, ["model.max_tokens=225", "data.enable_wildcard=true"]),
    ],
    "needless-weights": [
        (captions("aa12, (smile:1.2)"), ["model.weighted_captions=true"]),
        (captions("aa12, person \\\\(girl\\\\)"), ["model.weighted_captions=true"]),
        (nothing, ["model.weighted_captions=true", "data.caption_suffix='[blurry]'"]),
    ],
    "dropout-never-comes": [
        (nothing, ["data.caption_dropout_every_n_epochs=5"]),
        (nothing, ["data.caption_dropout_every_n_epochs=0"]),
    ],
    "pushed-out-of-front": [
        (nothing, ["data.caption_prefix='masterpiece,'", "data.keep_tokens=2"]),
        (nothing, ["data.caption_prefix='masterpiece,'", "data.shuffle_caption=false"]),
        (nothing, ["data.caption_prefix='masterpiece'"]),  # one tag with the trigger word
        (nothing, ["data.caption_prefix='aa12, best quality,'"]),
        (captions("smile, person, aa12"), ["data.caption_prefix='masterpiece,'"]),  # never kept
        (
            captions("aa12 ||| smile, hat"),
            ["data.caption_prefix='x,'", "data.keep_tokens_separator='|||'"],
        ),
    ],
    "marks-as-text": [
        (captions("aa12 ||| smile"), ["data.keep_tokens_separator='|||'"]),
        (captions("aa12, red;;;hat"), ["data.secondary_separator=';;;'"]),
        (captions("aa12 ||| smile"), ["data.caption_separator='|||'"]),
        (captions("aa12, {smile|frown}"), ["data.enable_wildcard=true"]),
        (captions("aa12, {smile}, a | b"), []),
    ],
    "more-threads-than-cores": [(nothing, ["train.threads=0"]), (nothing, ["train.threads=1"])],
    "never-measured": [
        (nothing, ["data.validation_split=0.3", "train.validate_every_steps=60"]),
        (nothing, ["train.validate_every_steps=61"]),  # nothing is held out, which is said
    ],
    "mostly-held-out": [(nothing, ["data.validation_split=0.3"]), (nothing, [])],
    "background-idle": [
        (CLEAR, ["data.background=[0,0,0]"]),
        (nothing, ["data.background=[255,255,255]"]),
    ],
    "vae-batch-idle": [
        (nothing, ["data.vae_batch_size=4", "train.device=auto"]),
        (nothing, ["data.vae_batch_size=1", "train.device=cpu"]),
    ],
    "nothing-to-keep": [
        (nothing, ["train.keep_checkpoints=3"]),
        (nothing, ["train.keep_checkpoints=0", "train.save_every_steps=0"]),
    ],
    "words-left-out": [
        (nothing, ["output.metadata=full", "output.author=me"]),
        (nothing, ["output.metadata=minimal", "output.title=A cat"]),
        (nothing, ["output.metadata=none", "output.author=''", "output.trigger=aa12"]),
    ],
    "stop-idle": [
        (nothing, ["stop.patience=3", "stop.min_delta=0.0"]),
        (nothing, ["stop.patience=2", "stop.every_checkpoints=1"]),
    ],
    "never-judged": [
        (nothing, ["stop.every_checkpoints=9"]),
        (nothing, ["stop.every_checkpoints=1", "stop.from_step=50"]),
    ],
    "never-stops": [
        (nothing, ["stop.every_checkpoints=1", "train.save_every_steps=15", "stop.patience=2"]),
        (nothing, ["stop.every_checkpoints=0", "train.save_every_steps=20"]),
    ],
    "dear-judging": [
        (
            nothing,
            [
                "stop.every_checkpoints=14",
                "train.max_steps=600",
                "train.save_every_steps=40",
                "judge.pictures=1",
                "sample.steps=1",
                "judge.trigger_prompts=['a', 'b', 'c']",
                "judge.class_prompts=['a']",
            ],
        ),
    ],
    "previews-idle": [
        (nothing, ["sample.steps=20", "sample.sampler=ddim", "sample.weights=[1.0]"]),
        (nothing, ["sample.steps=4", "sample.prompts=['aa12']", "sample.every_steps=9"]),
    ],
}
"""Cases with the options that a rule is about, which do have an effect or are what they are anyway."""


@pytest.mark.parametrize("rule", WITH_EFFECT)
def test_what_has_an_effect_gets_no_warning(project: Path, rule: str):
    SQUARE(project)
    pictures = {path: path.read_bytes() for path in project.rglob("2_aa12 person/*")}
    for change, values in WITH_EFFECT[rule]:
        change(project)
        assert rule not in found(project, *values), values
        for path, content in pictures.items():
            path.write_bytes(content)


@pytest.mark.parametrize(
    "option", ["rescale=0.7", "sampler=euler", "steps=9", "scale=3", "weights=[0.5]"]
)
def test_how_to_draw_without_anything_to_draw(project: Path, option: str):
    """An option without effect is named."""
    SQUARE(project)
    name = option.partition("=")[0]
    (said,) = [
        f for f in checked(project, f"sample.{option}").plan.findings if f.level == "warning"
    ]
    assert (said.rule, said.where) == ("previews-idle", f"sample.{name}")
    assert said.message.startswith(f"sample.{name} has no effect")


@pytest.mark.parametrize(("cycles", "told"), [(1, True), (2, False)])
def test_one_cycle_is_no_restart(project: Path, cycles: int, told: bool):
    values = [f"schedule={{name='cosine_with_restarts', num_cycles={cycles}}}"]
    said = checked(project, *values).plan.warnings
    assert any("is the plain cosine" in text for text in said) is told


def test_the_epoch_that_drops_captions_comes_or_does_not(project: Path):
    """Counted by what is shown: the last epoch that a run reaches is epoch n, or is not."""
    order = checked(project).order
    for every in (2, 3):
        first = order.batches_in(every - 1)
        for steps, told in ((first, True), (first + 1, False)):
            values = [f"train.max_steps={steps}", f"data.caption_dropout_every_n_epochs={every}"]
            assert ("dropout-never-comes" in found(project, *values)) is told
            epoch = order.locate(steps - 1)[0]
            assert ((epoch + 1) % every == 0) is not told


def test_a_trigger_of_several_words_may_be_spread_over_tags(project: Path):
    """`aa12, person` and `person, aa12` both say `aa12 person`; `aa123` does not."""
    captions("smile, person, AA12")(project)
    assert "trigger-missing" not in found(project, "output.trigger='aa12 person'")
    captions("smile, person, aa123")(project)
    assert "trigger-missing" in found(project, "output.trigger='aa12 person'")


@pytest.mark.parametrize("rule", REFUSED)
def test_refused(project: Path, rule: str):
    """An error names the option first, so that its line in run.toml can be found."""
    option = {
        "objective-impossible": "objective.zero_terminal_snr",
        "pure-noise-sampler": "sample.sampler",
    }
    with pytest.raises(UserError) as caught:
        checked(project, *REFUSED[rule])
    assert caught.value.where == option[rule]
    assert caught.value.remedy


def test_a_full_disk_is_told_before_the_start(project: Path, monkeypatch):
    """F4: what is missing, in figures; a run that fits says nothing."""
    from collections import namedtuple

    usage = namedtuple("usage", "total used free")
    room = checked(project).plan.saves.room
    for free, told in ((room, False), (room - 2**20, True)):
        monkeypatch.setattr(shutil, "disk_usage", lambda _, free=free: usage(2 * room, 0, free))
        plan = checked(project).plan
        assert any("1.0 MiB are missing" in text for text in plan.warnings) is told
        assert plan.saves.free == free
