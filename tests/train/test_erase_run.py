"""`renma erase` as a user starts it: plan, training, resume, files, refusals (A10)."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from renma.cli.app import main
from renma.config.run_tasks import TrainOptions
from renma.core.errors import UserError
from renma.core.events import Silent
from renma.engine.network import Network
from renma.formats import lora_file, safetensors
from renma.train import task
from renma.train.plan import prepare
from renma.train.rules import concepts, erase
from renma.train.source import load
from testbed.runs import final, losses, rows, train

RUN = """
[erase]
steps = 4
[[erase.prompts]]
target = "person, sunglasses"
neutral = "person"
positive = "sunglasses"
resolution = 64
batch_size = 2
[adapter]
rank = 2
alpha = 2
[adapter.targets]
preset = "attention"
only = ["*mid_block*", "*up_blocks.1.attentions.0*"]
[optimizer]
learning_rate = 1e-2
[train]
max_steps = 4
save_every_steps = 2
threads = 1
precision = "fp32"
tensorboard = false
[sample]
every_steps = 0
"""
TWO = "erase.prompts=[{target='sunglasses',resolution=64,dynamic_resolution=true},{target='beard',resolution=64}]"
# resolution 64 on mame draws sides of 32, 48 and 64


@pytest.fixture
def words(tmp_path: Path) -> Path:
    (tmp_path / "run.toml").write_text(RUN)
    return tmp_path


def checked(folder: Path, *values: str):
    source = load(folder / "run.toml", None, values)
    with source.pointing():
        return prepare(source.run, source.base)


def test_the_command_erases_without_a_picture(words: Path, capsys):
    """The whole way on mame: LoRA of the U-Net alone, falling loss is not asked of 4 steps."""
    (words / "c.yaml").write_text("- target: sunglasses\n  resolution: 64\n")
    file = str(words / "run.toml")
    given = ["--set", "erase.prompts=[]", "--set", "erase.prompts_file=c.yaml"]
    assert main(["check", file, *given]) == 0
    out = capsys.readouterr().out
    assert "'sunglasses' like '', and 1 x away from 'sunglasses'; 1 picture of 64x64 pixels" in out
    assert "4 steps, 4 samples" in out
    assert "pictures  " not in out
    assert "epoch" not in out
    assert main(["check", file, *given, "--captions"]) == 0
    draws = ["--set", "sample.every_steps=4", "--set", "sample.steps=2"]
    assert main(["erase", file, *given, *draws, "--out", str(words / "a")]) == 0
    assert [row["prompt"] for row in rows(words / "a", "sample")] == ["sunglasses", ""]
    path = words / "a" / "lora" / "lora.safetensors"
    names = set(lora_file.read(path).layers)
    assert names
    assert all(name.startswith("lora_unet_") for name in names)
    metadata = safetensors.read_header(path)[1]
    assert metadata["ss_steps"] == "4"
    assert not {"ss_num_train_images", "ss_datasets", "ss_epoch", "ss_noise_offset"} & set(metadata)
    assert 'target = "sunglasses"' in metadata["renma_run"]
    assert 'target = "sunglasses"' in (words / "a" / "run.toml").read_text()
    assert main(["erase", "--resume", "--out", str(words / "a")]) == 0
    assert "nothing to do" in capsys.readouterr().out


def test_what_is_learnt_moves_the_model_towards_its_goal(words: Path, mame):
    """12 steps at one place of the way: the answer to the target comes nearer to the neutral one."""
    values = ("train.max_steps=12", "erase.steps=2", "erase.prompts=[{target='smile, beard',neutral='smile',guidance_scale=0,batch_size=2,resolution=64}]")  # fmt: skip
    folder = train(words, "a", *values)
    x = torch.randn(8, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    times = torch.full((8,), 501)
    with torch.no_grad():
        say = [mame.encode_text([text] * 8) for text in ("smile, beard", "smile")]
        before, goal = (mame.predict(x, times, one) for one in say)
        with Network.from_file(mame, folder / "lora" / "lora.safetensors").at():
            after = mame.predict(x, times, say[0])
    assert (after - goal).norm() < 0.95 * (before - goal).norm()


CROSSED = {
    "two concepts, accumulated": (TWO, "train.gradient_accumulation_steps=2", "erase.points=2"),
    "euler_a, dropout": ("erase.sampler=euler_a", "adapter.dropout=0.3", "schedule.name=cosine"),
    "bf16, checkpointing": ("train.precision=bf16", "train.gradient_checkpointing=true"),
}


@pytest.mark.parametrize("name", CROSSED)
def test_resume_is_bit_identical(words: Path, name):
    values = CROSSED[name]
    out = train(words, "a", *values)
    straight, told = final(out), losses(out)
    (out / "lora" / "lora.safetensors").unlink()
    (out / "state" / "step-00000004.safetensors").unlink()
    train(words, "a", *values, resume=True)
    assert losses(out) == [*told, *told[2:]]
    assert final(out) == straight


def test_other_concepts_are_not_gone_on_with(words: Path):
    train(words, "a")
    with pytest.raises(UserError, match=r"cannot resume with other options.*erase\.prompts"):
        train(words, "a", TWO, resume=True)


ALGORITHMS = {
    "loha": "{algo='loha',rank=2,alpha=2}",
    "lokr": "{algo='lokr',rank=2,alpha=2}",
    "ia3": "{algo='ia3'}",
    "full": "{algo='full',targets={only=['*mid_block*']}}",
    "dora": "{rank=2,alpha=2,dora='output'}",
    "dylora": "{algo='dylora',rank=4,alpha=2}",
    "tlora": "{rank=4,alpha=2,min_timestep_rank=1}",
    "conv": "{rank=2,alpha=2,conv_rank=2,targets={preset='conv',only=['*mid_block*']}}",
}


@pytest.mark.parametrize("name", ALGORITHMS)
def test_any_algorithm_erases(words: Path, name, mame):
    """A step moves every kind of adapter, and the file acts on the model."""
    values = (f"adapter={ALGORITHMS[name]}", "train.max_steps=1", "erase.steps=2", "erase.points=1")
    folder = train(words, "a", *values)
    x = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    times = torch.tensor([900, 300])
    with torch.no_grad():
        say = mame.encode_text(["sunglasses", "smile"])
        before = mame.predict(x, times, say)
        with Network.from_file(mame, folder / "lora" / "lora.safetensors").at():
            after = mame.predict(x, times, say)
    assert after.isfinite().all()
    assert (after - before).abs().max() > 1e-6


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (["train.precision=fp16"], r"fp16.*overflows.*Use train.precision = 'bf16' or 'fp32'"),
        (["train.text_encoder=true"], r"--set train.text_encoder=true: cannot be trained by \[erase\]"),
        (["train.max_epochs=3"], "there are no epochs without pictures"),
        (["stop.every_checkpoints=1"], r"\[stop\] judges checkpoints by the pictures"),
        (["relora.every_steps=2"], r"\[erase\] and \[relora\] cannot be in one run"),
        (["copier.train_folder=x"], r"\[copier\]"),
        (["erase.prompts=[{target=' '}]"], r"concept 1 \(' '\) has an empty target"),
        (["erase.prompts=[{target='a',positive=''}]"], "the same text ''"),
        (["erase.prompts=[{target='a',neutral='a',guidance_scale=0}]"], "what is there already"),
        (["erase.prompts=[{target='a',resolution=100}]"], "Use a multiple of 8, such as 96"),
        (["erase.prompts=[{target='a',resolution=24,dynamic_resolution=true}]"], "nothing to draw from"),
        (["erase.last_step=9"], r"erase.last_step = 9: is not before the last of 4 steps"),
        (["erase.prompts_file=x.yaml"], "there is no such file"),
        (["erase.prompts=[{target='a',gidance_scale=2}]"], "Did you mean 'guidance_scale'"),
    ],
)  # fmt: skip
def test_refused_before_anything_is_loaded(words: Path, values, said):
    with pytest.raises(UserError, match=said) as caught:
        checked(words, *values)
    assert "\n" not in caught.value.line()


FOUND = {
    "erase-far-from-native": None,
    "erase-no-guidance": ["erase.prompts=[{target='a',guidance_scale=0,positive='b'}]"],
    "erase-neutral": ["erase.prompts=[{target='a',neutral='a'}]"],
    "erase-too-long": ["erase.prompts=[{target='" + "long hair, " * 40 + "'}]"],
    "erase-unknown-words": ["erase.prompts=[{target='xqzvkw'}]"],
    "erase-doubles": ["erase.prompts=[{target='a'},{target='a'}]"],
    "erase-two-goals": ["erase.prompts=[{target='a'},{target='a',neutral='b'}]"],
    "erase-crops": ["erase.prompts=[{target='a',dynamic_crops=true}]"],
    "erase-rate": None,
    "erase-few-steps": None,
    "erase-idle": ["data.resolution=64"],
}


@pytest.mark.parametrize("rule", [rule for rule, values in FOUND.items() if values])
def test_rules_find_what_they_are_for(words: Path, rule):
    assert rule not in {found.rule for found in checked(words).plan.findings}
    assert rule in {found.rule for found in checked(words, *(FOUND[rule] or ())).plan.findings}


def test_the_rules_of_real_models(words: Path, monkeypatch):
    """Size, rate and length are nothing to be said about on a model for trying out."""
    from renma.train.rules._base import Facts

    monkeypatch.setattr(Facts, "is_toy", property(lambda _: False))
    found = {each.rule for each in checked(words).plan.findings}
    assert {"erase-far-from-native", "erase-rate", "erase-few-steps"} <= found
    good = ("erase.prompts=[{target='a'}]", "optimizer.learning_rate=1e-4", "train.max_steps=300")
    found = {each.rule for each in checked(words, *good).plan.findings}
    assert not {name for name in found if name.startswith("erase")}


@pytest.mark.parametrize(
    "value",
    ["data.resolution=64", "objective.min_snr_gamma=5", "train.save_every_epochs=1", "sample.every_epochs=1",
     "train.validate_every_steps=2"],
)  # fmt: skip
def test_what_only_pictures_need_is_said_to_do_nothing(words: Path, value):
    told = [f.message for f in checked(words, value).plan.findings if f.rule == "erase-idle"]
    assert len(told) == 1
    assert value.partition(".")[0] in told[0]


def test_auto_never_means_half(words: Path, monkeypatch):
    from renma.train import source

    def half(train):
        return train.model_copy(update={"precision": "fp16"})

    monkeypatch.setattr(source, "resolved", half)
    run = load(words / "run.toml", None, ["train.precision=auto"]).run
    assert (run.train.precision, run.train.text_encoder) == ("fp32", False)


def test_a_preset_that_trains_text_encoders_does_not_stand_in_the_way(words: Path):
    run = load(words / "run.toml", None, ["preset=sdxl-24gb"]).run
    assert not run.train.text_encoder


def test_previews_are_the_targets_unless_others_are_written(words: Path):
    def sample(*values: str):
        return load(words / "run.toml", None, [TWO, *values]).run.sample

    text = (words / "run.toml").read_text().replace("[sample]\nevery_steps = 0\n", "")
    assert sample().prompts == ()
    (words / "run.toml").write_text(text)
    found = sample("train.max_steps=50")
    assert found.prompts == ("sunglasses", "beard", "")
    assert (found.every_steps, found.at_first) == (10, True)
    assert sample("sample.every_steps=7").every_steps == 7
    assert sample("sample.prompts=['smile']").prompts == ("smile",)


def test_the_plan_knows_what_the_way_costs(words: Path):
    """flops: 2 evaluations for each step of the way, the frozen answers, forward and backward."""
    one = checked(words, "erase.steps=11", "erase.first_step=5", "erase.last_step=5").flops
    ten = checked(words, "erase.steps=11", "erase.first_step=10", "erase.last_step=10").flops
    assert ten / one == pytest.approx((20 + 3 + 2) / (10 + 3 + 2))
    plain = checked(
        words, "erase.steps=11", "erase.guidance=1", "erase.first_step=5", "erase.last_step=5"
    )
    assert one / plain.flops == pytest.approx((10 + 5) / (5 + 5))
    plan = checked(words, "erase.points=2", "train.gradient_accumulation_steps=3").plan
    assert (plan.samples, plan.pictures, plan.batches_per_step) == (4 * 3 * 4, 0, 3)


def test_the_plan_names_some_of_many_concepts(words: Path):
    many = ",".join(f"{{target='a {n}'}}" for n in range(30))
    rows = checked(words, f"erase.prompts=[{many}]").plan.method
    assert [name for name, _ in rows] == ["erase"] * 6 + ["", "drawn"]
    assert rows[6][1] == "and 24 concepts more"


def test_erase_insists_on_concepts(tmp_path: Path, capsys):
    (tmp_path / "run.toml").write_text("[train]\nmax_steps = 1\n")
    assert main(["erase", str(tmp_path / "run.toml")]) == 2
    assert "names no concept to erase" in capsys.readouterr().err


def test_train_erases_too(words: Path):
    options = TrainOptions(run=words / "run.toml", out=words / "a", set=("train.max_steps=1",))
    task.run(options, Silent())
    assert (words / "a" / "lora" / "lora.safetensors").exists()


def test_every_rule_about_erasing_is_provoked_here():
    every = (*erase.RULES, *concepts.RULES)
    refused = {rule.id for rule in every if rule.level == "error"}
    assert {rule.id for rule in every} - refused == FOUND.keys()
    assert len(refused) == 8
