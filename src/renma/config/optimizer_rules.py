"""What an optimizer, a schedule and rates cannot or should not do together. No torch.

Each rule is a generator of errors or of warnings; :func:`problems` asks all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from renma.config.adapter import Paired
from renma.config.optimizer import (
    Adafactor,
    Muon,
    Prodigy,
    ProdigyPlusScheduleFree,
)
from renma.config.run import Run
from renma.config.schedule import (
    Constant,
    CosineWithRestarts,
    PiecewiseConstant,
    WarmupStableDecay,
)
from renma.core.counted import counted, idle
from renma.core.errors import UserError

PARTS = ("unet", "text_encoder", "text_encoder_2")
"""What can have a learning rate of its own; the last is SDXL's."""
_KEYS = {
    "unet": "unet_lr",
    "text_encoder": "text_encoder_lr",
    "text_encoder_2": "text_encoder_2_lr",
}
ONE_CYCLE = (
    "schedule.num_cycles = 1 is the plain cosine: the rate falls once and never restarts. Set it "
    "to 2 or more, or schedule.name = 'cosine'."
)
_LEAST_SHARE = 0.1
"""A warm-up or an estimate that takes more than this share of a run deserves a word."""


@dataclass(frozen=True)
class Problems:
    """What is wrong, and what is only strange."""

    errors: tuple[UserError, ...]
    warnings: tuple[str, ...]

    def refuse(self) -> tuple[str, ...]:
        """Returns the warnings.

        Raises:
            UserError: the first error, if there is one.
        """
        for error in self.errors:
            raise error
        return self.warnings


def problems(
    run: Run,
    parts: Sequence[str],
    steps: int,
    block_rates: Iterable[float] = (),
    *,
    cpu: bool = False,
) -> Problems:
    """Returns what is wrong or strange about a run's optimizer, schedule and rates.

    Args:
        run: the run.
        parts: what is trained: of ``unet``, ``text_encoder``, ``text_encoder_2``.
        steps: optimizer steps of the run.
        block_rates: factors on the rate of each trained layer, where they are known.
        cpu: whether it will surely compute without a GPU, whatever ``train.device`` says.
    """
    errors = (*_rates_of(run, parts, set(block_rates)), *_schedule(run), *_means(run, cpu))
    warnings = (
        *_idle_rates(run, parts), *_unusual_rates(run, parts), *_odd_schedule(run, steps),
        *_adafactor(run), *_estimates(run, steps),
    )  # fmt: skip
    return Problems(tuple(errors), tuple(warnings))


def _rates_of(run: Run, parts: Sequence[str], block_rates: set[float]) -> Iterator[UserError]:
    """Refuses several rates with an optimizer that estimates one for all."""
    name, optimizer = run.optimizer.name, run.optimizer
    if not optimizer.traits.one_rate:
        return
    rates = {part: optimizer.rate(part) for part in parts}
    if len(set(rates.values())) > 1:
        told = ", ".join(f"{part} {rate:g}" for part, rate in rates.items())
        yield UserError(
            f"{name} estimates one step size for everything, so all parts need the same learning "
            f"rate, not {told}",
            where=f"optimizer.{_given_rate(run, parts)}",
            remedy="Leave unet_lr and text_encoder_lr out, or set one to 0 to leave it untrained; "
            "prodigyplusschedulefree finds a rate for each part.",
        )
    adapter = run.adapter
    ratios = (
        {adapter.ratio(_half(part)) for part in parts} if isinstance(adapter, Paired) else {1.0}
    )
    if len(block_rates) > 1 or ratios != {1.0}:
        yield UserError(
            f"{name} estimates one step size for everything: block rates and LoRA+ need another "
            "optimizer",
            where="adapter.blocks" if ratios == {1.0} else "adapter.lr_ratio",
            remedy="Use optimizer.name = 'adamw', or leave them out.",
        )


def _half(part: str) -> str:
    """Returns the part whose LoRA+ ratio counts."""
    return "unet" if part == "unet" else "text_encoder"


def _given_rate(run: Run, parts: Sequence[str]) -> str:
    """Returns the key of a rate that differs from the first part's."""
    first = run.optimizer.rate(parts[0])
    differs = next(part for part in parts if run.optimizer.rate(part) != first)
    given = [
        k for k in (_KEYS[differs], "text_encoder_lr", "unet_lr") if _value(run, k) is not None
    ]
    return given[0] if given else "learning_rate"


def _value(run: Run, key: str) -> float | None:
    values = {
        "unet_lr": run.optimizer.unet_lr,
        "text_encoder_lr": run.optimizer.text_encoder_lr,
        "text_encoder_2_lr": run.optimizer.text_encoder_2_lr,
    }
    return values[key]


def _schedule(run: Run) -> Iterator[UserError]:
    """Refuses schedules that the optimizer would not follow, or that need another one."""
    optimizer, schedule = run.optimizer, run.schedule
    relative = optimizer.traits.own_schedule == "relative_step"
    if relative and schedule.name not in ("constant", "adafactor"):
        yield UserError(
            "adafactor with relative_step computes its own rates: schedule "
            f"'{schedule.name}' would have no effect",
            where="schedule.name",
            remedy="Set optimizer.relative_step = false with a learning rate, or leave it out.",
        )
    if schedule.name == "adafactor" and isinstance(optimizer, Adafactor) and not relative:
        yield UserError(
            "the schedule 'adafactor' is the rate that Adafactor computes itself, and "
            "optimizer.relative_step = false says that it shall not",
            where="schedule.name",
            remedy="Set relative_step = true, or schedule.name = 'constant_with_warmup', which is "
            "usual with a fixed rate.",
        )
    elif schedule.name == "adafactor" and not relative:
        yield UserError(
            f"the schedule 'adafactor' is Adafactor's own, not for {optimizer.name}",
            where="schedule.name",
            remedy="Use optimizer.name = 'adafactor', or another schedule.",
        )
    free = optimizer.traits.own_schedule == "schedule_free"
    if free and schedule.name not in ("constant", "constant_with_warmup"):
        yield UserError(
            f"{optimizer.name} averages instead of lowering the rate; a falling schedule "
            f"('{schedule.name}') spoils the average",
            where="schedule.name",
            remedy="Use 'constant' or 'constant_with_warmup'.",
        )


def _means(run: Run, cpu: bool) -> Iterator[UserError]:
    """Refuses what the optimizer has not the means for."""
    optimizer, traits = run.optimizer, run.optimizer.traits
    if traits.paged and (cpu or run.train.device == "cpu"):
        yield UserError(
            f"{optimizer.name} keeps its state in paged memory, which only GPUs have",
            where="optimizer.name",
            remedy=f"Take '{optimizer.name.removeprefix('paged').removesuffix('32bit')}' on a CPU.",
        )
    free = traits.own_schedule == "schedule_free"
    if free and optimizer.l1:
        yield UserError(
            f"{optimizer.name} steps other weights than it averages: an L1 penalty would not reach "
            "the result",
            where="optimizer.l1",
            remedy="Set l1 = 0, or use an optimizer with a schedule.",
        )
    if free and getattr(run.adapter, "max_norm", 0):
        yield UserError(
            f"{optimizer.name} steps other weights than it averages: adapter.max_norm would not "
            "hold for the result",
            where="adapter.max_norm",
            remedy="Set max_norm = 0, or use an optimizer with a schedule.",
        )
    if isinstance(optimizer, Muon) and getattr(run.adapter, "dora", "off") != "off":
        yield UserError(
            "muon makes matrices orthogonal; DoRA's magnitudes are none",
            where="adapter.dora",
            remedy="Set dora = 'off', or use optimizer.name = 'adamw'.",
        )


def _idle_rates(run: Run, parts: Sequence[str]) -> Iterator[str]:
    """Names rates that nothing uses."""
    for part, key in _KEYS.items():
        rate = _value(run, key)
        # SDXL's second encoder takes the first one's rate; 0 is how to leave a part untrained
        used = part in parts or (part == "text_encoder" and "text_encoder_2" in parts)
        if rate and not used:
            reason = _switched_off(run, part)
            yield f"optimizer.{key} has no effect: {reason}."
    own = [run.optimizer.rate(part) for part in parts]
    without = [part for part in parts if _inherits(run, part)]
    if own and not without and _differs(run):
        yield "optimizer.learning_rate has no effect: every trained part has a rate of its own."
    if run.optimizer.traits.own_schedule == "relative_step":
        keys = ("learning_rate", *_KEYS.values())
        given = [k for k in keys if _differs(run, k) and getattr(run.optimizer, k)]
        if given:
            yield f"optimizer.{idle(given)}: relative_step computes the rates."


def _inherits(run: Run, part: str) -> bool:
    """Says whether a part takes ``learning_rate``."""
    if part == "text_encoder_2" and run.optimizer.text_encoder_2_lr is not None:
        return False
    return _value(run, _KEYS[_half(part)]) is None


def _differs(run: Run, key: str = "learning_rate") -> bool:
    """Says whether an option of the optimizer was set, and to something else than it is anyway."""
    default = type(run.optimizer).model_fields[key].default
    return key in run.optimizer.model_fields_set and getattr(run.optimizer, key) != default


def _switched_off(run: Run, part: str) -> str:
    if part == "text_encoder_2" and run.train.text_encoder:
        return "this model has one text encoder"
    key = "unet" if part == "unet" else "text_encoder"
    return f"train.{key} is false" if not getattr(run.train, key) else f"the {part} is not trained"


def _unusual_rates(run: Run, parts: Sequence[str]) -> Iterator[str]:
    """Remarks on rates that the optimizer is seldom run with."""
    optimizer = run.optimizer
    if optimizer.traits.own_schedule == "relative_step":
        return
    least, most = optimizer.usual
    for rate in sorted({optimizer.rate(part) for part in parts}):
        if least <= rate <= most:
            continue
        if optimizer.traits.finds_rate:
            yield (
                f"optimizer: {optimizer.name} finds the step size itself; a learning rate near 1 "
                f"is meant, {rate:g} is a factor on what it finds."
            )
        else:
            side = "low" if rate < least else "high"
            yield (
                f"optimizer: a learning rate of {rate:g} is unusually {side} for {optimizer.name} "
                f"({least:g} to {most:g}; its default is "
                f"{type(optimizer).model_fields['learning_rate'].default:g})."
            )


def _odd_schedule(run: Run, steps: int) -> Iterator[str]:
    """Remarks on schedules that do not fit the run's length."""
    schedule = run.schedule
    warmup = 0 if isinstance(schedule, Constant) else _warmup(run, steps)
    if warmup and warmup >= steps:
        yield f"schedule.warmup_steps: the warm-up takes all of the {counted(steps, 'step')}."
    if schedule.name == "constant_with_warmup" and not warmup:
        yield "schedule: constant_with_warmup without warmup_steps is constant."
    if isinstance(schedule, CosineWithRestarts) and not _restarts(schedule):
        yield ONE_CYCLE
    cycles = getattr(schedule, "num_cycles", 1)
    if cycles > max(1, steps - warmup) // 2 and cycles > 1:
        yield (
            f"schedule.num_cycles = {cycles} leaves a cycle less than 2 of the {steps - warmup} "
            "steps: the rate only jumps. 2 to 5 are usual."
        )
    if isinstance(schedule, WarmupStableDecay) and warmup < steps < warmup + schedule.decay(steps):
        yield (
            f"schedule.decay_steps: warm-up and fall together are longer than the {steps} steps; "
            f"the fall is cut to {steps - warmup}."
        )
    if isinstance(schedule, PiecewiseConstant):
        ends = [int(part.split(":")[1]) for part in schedule.step_rules.split(",")[:-1]]
        if late := [end for end in ends if end >= steps]:
            yield f"schedule.step_rules: step {late[0]} never comes in {counted(steps, 'step')}."


def _restarts(schedule: object) -> bool:
    return isinstance(schedule, CosineWithRestarts) and schedule.num_cycles > 1


def _warmup(run: Run, steps: int) -> int:
    warmup = getattr(run.schedule, "warmup", None)
    return warmup(steps) if warmup else 0


def _adafactor(run: Run) -> Iterator[str]:
    """Adafactor with a fixed rate has its own recipe (kohya-ss/sd-scripts says the same)."""
    optimizer = run.optimizer
    if not isinstance(optimizer, Adafactor) or optimizer.relative_step:
        return
    if optimizer.scale_parameter:
        yield (
            "optimizer.scale_parameter multiplies the fixed rate by each tensor's size, 0.001 for "
            "what starts at zero: it would hardly learn. Set it to false."
        )
    if run.schedule.name != "constant_with_warmup":
        yield (
            "schedule: adafactor with a fixed rate starts roughly; constant_with_warmup is the "
            "usual schedule for it."
        )


def _estimates(run: Run, steps: int) -> Iterator[str]:
    """Remarks on what misleads an estimate of the step size."""
    optimizer = run.optimizer
    warmup = _warmup(run, steps)
    if isinstance(optimizer, Prodigy) and warmup and not optimizer.safeguard_warmup:
        yield "optimizer.safeguard_warmup is false: the warm-up will mislead Prodigy's estimate."
    if optimizer.traits.one_rate and warmup > _LEAST_SHARE * steps:
        yield (
            f"schedule.warmup_steps: {optimizer.name} raises its step size by itself; a warm-up of "
            f"{warmup} of {steps} steps holds the estimate back."
        )
    if optimizer.traits.one_rate and _restarts(run.schedule):
        yield f"schedule: restarts confuse {optimizer.name}'s estimate; cosine is safe."
    if isinstance(optimizer, ProdigyPlusScheduleFree) and run.train.max_grad_norm:
        yield (
            f"train.max_grad_norm = {run.train.max_grad_norm:g} hampers the estimate of "
            f"{optimizer.name}, which caps its steps itself; 0 is meant for it."
        )
