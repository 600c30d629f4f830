"""The schema: every option explained, TOML there and back, mistakes in one line with their place."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from renma.config import Run, dump, load_run, validate
from renma.config.views import LEVELS
from renma.core.errors import UserError

SHARE = st.floats(0, 1)
DECAY = st.floats(0, 1, exclude_max=True)
COUNT = st.integers(1, 10_000)
RATE = st.floats(0, 10)
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)  # no zero bytes
BUCKET = st.integers(1, 32).map(lambda n: 8 * n)


def some(**fields: st.SearchStrategy) -> st.SearchStrategy:
    """Any choice of the given keys."""
    return st.fixed_dictionaries({}, optional=fields)


def chosen(name: str, **fields: st.SearchStrategy) -> st.SearchStrategy:
    """One choice of a section, with all the given keys."""
    return st.fixed_dictionaries({"name": st.just(name), **fields})


SUBSET = {
    "num_repeats": COUNT,
    "class_tokens": TEXT,
    "shuffle_caption": st.booleans(),
    "keep_tokens": st.integers(0, 9),
    "caption_dropout_rate": SHARE,
    "background": st.tuples(*[st.integers(0, 255)] * 3).map(list),
}
DATASET = {"resolution": st.tuples(COUNT, COUNT).map(list), "bucket_reso_steps": BUCKET}
FOLDERS = st.lists(
    some(is_reg=st.booleans(), **SUBSET).flatmap(
        lambda keys: TEXT.map(lambda folder: {**keys, "image_dir": folder})
    ),
    max_size=2,
)
RATES = {"learning_rate": RATE, "unet_lr": RATE}
OPTIMIZERS = st.one_of(
    some(**RATES, eps=st.floats(1e-12, 1)),
    chosen("adamw8bit", weight_decay=RATE),
    chosen("prodigy", betas=st.tuples(DECAY, DECAY).map(list)),
)
SCHEDULES = st.one_of(
    st.just({}),
    chosen("cosine", warmup_steps=st.one_of(SHARE, COUNT)),
    chosen("cosine_with_restarts", num_cycles=COUNT),
)
RUNS = some(
    model=some(path=TEXT, clip_skip=st.integers(1, 12)),
    data=some(**SUBSET, **DATASET, datasets=st.lists(some(**DATASET, subsets=FOLDERS), max_size=2)),
    adapter=some(rank=st.integers(1, 4096), alpha=RATE),
    optimizer=OPTIMIZERS,
    schedule=SCHEDULES,
    train=some(max_epochs=COUNT, seed=st.integers(0, 2**62), unet=st.booleans()),
    sample=some(prompts=st.lists(TEXT, max_size=3), scale=st.floats(1, 30)),
    judge=some(attributes=st.dictionaries(TEXT, TEXT, max_size=3)),
    output=some(trigger=TEXT, author=TEXT),
)


@given(RUNS)
def test_toml_to_run_to_toml_is_the_identity(raw):
    run = validate(Run, raw, "test")
    text = dump(run)
    again = validate(Run, tomllib.loads(text), "test")
    assert again == run
    assert dump(again) == text
    # what was written down is what is there
    assert run.adapter.rank == raw.get("adapter", {}).get("rank", 4)


def models(model: type[BaseModel]) -> set[type[BaseModel]]:
    """All models reachable from one through the annotations of fields."""
    found = {model}
    todo = [field.annotation for field in model.model_fields.values()]
    while todo:
        annotation = todo.pop()
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            if annotation not in found:
                found.add(annotation)
                todo += [field.annotation for field in annotation.model_fields.values()]
        else:
            todo += getattr(annotation, "__args__", ())
    return found


def test_every_option_has_help_and_a_level():
    every = models(Run)
    assert {m.__name__ for m in every} >= {
        "Run",
        "Lora",
        "Prodigy",
        "Cosine",
        "Subset",
        "TrainConfig",
    }
    for model in every:
        for name, field in model.model_fields.items():
            assert field.description, f"{model.__name__}.{name} has no help"
            extra = field.json_schema_extra or {}
            assert extra.get("level", "basic") in LEVELS


MISTAKES = [
    ("[adapter]\nrnak = 8\n", 2, "unknown key 'adapter.rnak'", "Did you mean 'rank'?"),
    ("[trian]\nseed = 1\n", 1, "unknown key 'trian'", "Did you mean 'train'?"),
    ('\n[optimizer]\nname = "prodgy"\n', 3, "'prodgy' is not one of", "Did you mean 'prodigy'?"),
    ("[train]\nmax_steps = 0\n", 2, "'train.max_steps' = 0", "greater than or equal to 1"),
    ("[model]\nrank = 4\n", 2, "unknown key 'model.rank'", "belongs into [adapter]"),
    (
        "[[data.datasets]]\n[[data.datasets.subsets]]\nimage_dir='a'\nnum_repeat = 3\n",
        4,
        "num_repeat'",
        "Did you mean 'num_repeats'?",
    ),
]


@pytest.mark.parametrize(("text", "line", "what", "hint"), MISTAKES)
def test_mistake_is_one_line_with_its_place(tmp_path: Path, text, line, what, hint):
    path = tmp_path / "run.toml"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        load_run(path)
    said = caught.value.line()
    assert said.startswith(f"{path}:{line}: ")
    assert what in said
    assert hint in said
    assert "\n" not in said
