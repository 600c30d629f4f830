"""The loss with every option against a double precision computation written here (E6, E13)."""

from __future__ import annotations

import math
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from diffusers.training_utils import compute_snr

from renma.config.objective import ObjectiveConfig
from renma.diffusion.schedule import NoiseSchedule
from renma.families._base import Condition
from renma.train.objectives import denoise
from renma.train.objectives.denoise import Samples
from renma.train.objectives.draws import Draws

SD: dict[str, Any] = {
    "num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
}  # fmt: skip
SCHEDULES = {
    "epsilon": NoiseSchedule.of(SD),
    "v": NoiseSchedule.of({**SD, "prediction_type": "v_prediction"}),
    "v zero terminal": NoiseSchedule.of({**SD, "prediction_type": "v_prediction"}, True),
}
TIMES = [0, 50, 300, 600, 998, 999]
SHAPE = (len(TIMES), 4, 6, 5)
ANY: dict[str, dict[str, Any]] = {
    "default": {},
    "l1": {"loss": "l1"},
    "huber snr": {"loss": "huber"},
    "huber exponential": {"loss": "huber", "huber_schedule": "exponential", "huber_scale": 2.0},
    "huber constant": {"loss": "huber", "huber_schedule": "constant", "huber_c": 0.3},
    "smooth snr": {"loss": "smooth_l1", "huber_c": 0.2},
    "smooth exponential": {"loss": "smooth_l1", "huber_schedule": "exponential"},
    "smooth constant": {"loss": "smooth_l1", "huber_schedule": "constant", "huber_scale": 0.5},
    "min-SNR 1": {"min_snr_gamma": 1.0},
    "min-SNR 5": {"min_snr_gamma": 5.0},
    "debiased": {"debiased_estimation": True},
    "both": {"min_snr_gamma": 5.0, "debiased_estimation": True, "loss": "huber"},
}
OWN = {"epsilon": {"v-like": {"v_pred_like_loss": 0.5}}}
LIKE_NOISE = {"like noise": {"scale_v_pred_loss_like_noise_pred": True}}
CASES = [
    (kind, name, options)
    for kind in SCHEDULES
    for name, options in (ANY | OWN.get(kind, LIKE_NOISE)).items()
]


def tensor(seed: int, shape: tuple[int, ...] = SHAPE) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


def batch() -> Draws:
    return Draws(tensor(0), tensor(1), torch.tensor(TIMES))


class Says:
    """A model that answers what it is told to, and remembers what it was shown."""

    def __init__(self, answer: torch.Tensor, base: torch.Tensor | None = None) -> None:
        self.answer, self.base, self.on = answer, base, True
        self.shown: list[tuple[bool, torch.Tensor, torch.Tensor, Condition]] = []

    def predict(self, noisy, timesteps, condition):
        self.shown.append((self.on, noisy, timesteps, condition))
        rows = condition.states[:, 0, 0].long()
        answer = self.answer if self.on else self.base
        assert answer is not None
        return answer[rows]

    @contextmanager
    def off(self):
        self.on = False
        yield
        self.on = True


def told(count: int = len(TIMES)) -> Condition:
    """Captions that say which row of the batch they belong to."""
    return Condition(torch.arange(count, dtype=torch.float64).view(-1, 1, 1))


def got(model: Says, kind: str, options: dict[str, Any], samples: Samples | None = None, rows=None):
    drawn, condition = batch(), told()
    samples = samples or Samples(torch.ones(len(TIMES)))
    if rows is not None:
        drawn = Draws(drawn.latents[rows], drawn.noise[rows], drawn.timesteps[rows])
        condition = condition.take(rows)
    config = ObjectiveConfig(**options)
    family: Any = model
    return denoise.loss(family, SCHEDULES[kind], drawn, condition, samples, config, model.off)


def abar(kind: str) -> np.ndarray:
    """What is left at each of TIMES: the paper's product, then algorithm 1 of 2305.08891."""
    betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    root = np.sqrt(np.cumprod(1 - betas))
    if kind == "v zero terminal":
        root = (root - root[-1]) * root[0] / (root[0] - root[-1])
    return root[TIMES] ** 2


def elements(off: np.ndarray, options: dict[str, Any], left: np.ndarray) -> np.ndarray:
    """arXiv 2403.16728 as kohya-ss has it."""
    loss, c, scale = (
        options.get(k, d) for k, d in [("loss", "l2"), ("huber_c", 0.1), ("huber_scale", 1)]
    )
    if loss in ("l2", "l1"):
        return off**2 if loss == "l2" else np.abs(off)
    kind = options.get("huber_schedule", "snr")
    if kind == "constant":
        bend = np.full(len(TIMES), c * scale)
    elif kind == "exponential":
        bend = np.exp(math.log(c) * np.array(TIMES) / 1000) * scale
    else:
        with np.errstate(divide="ignore"):
            sigma = np.sqrt((1 - left) / left)  # infinite where nothing is left
        bend = (1 - c) / (1 + sigma) ** 2 + c
    bend = bend.reshape(-1, 1, 1, 1)
    root = 2 * (np.sqrt(off**2 + bend**2) - bend)
    return bend * root if loss == "huber" else root


def weights(kind: str, options: dict[str, Any], left: np.ndarray) -> np.ndarray:
    """Section 5.4 of what kohya-ss does, in its order."""
    snr = left / (1 - left)
    cut = np.minimum(snr, 1000)
    v = kind != "epsilon"
    total = np.ones(len(TIMES))
    if gamma := options.get("min_snr_gamma"):
        total *= np.minimum(snr, gamma) / (snr + 1 if v else snr)
    if options.get("scale_v_pred_loss_like_noise_pred"):
        total *= cut / (cut + 1)
    if share := options.get("v_pred_like_loss"):
        total += share * total / (cut / (cut + 1))
    if options.get("debiased_estimation"):
        total *= 1 / (cut + 1) if v else 1 / np.sqrt(cut)
    return total


def off_target(kind: str, answer: torch.Tensor) -> np.ndarray:
    left = abar(kind).reshape(-1, 1, 1, 1)
    x, e = batch().latents.numpy(), batch().noise.numpy()
    target = e if kind == "epsilon" else np.sqrt(left) * e - np.sqrt(1 - left) * x
    return answer.numpy() - target


@pytest.mark.parametrize(("kind", "name", "options"), CASES, ids=[f"{k}-{n}" for k, n, _ in CASES])
def test_loss_is_the_written_out_one(kind, name, options):
    answer = tensor(2)
    left = abar(kind)
    each = elements(off_target(kind, answer), options, left).mean(axis=(1, 2, 3))
    expected = each * weights(kind, options, left)
    model = Says(answer)
    found = got(model, kind, options)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6)
    if name != "default":
        plain = got(Says(answer), kind, {})
        assert not torch.allclose(found, plain, rtol=1e-3), "the option does nothing"
    noisy = np.sqrt(left).reshape(-1, 1, 1, 1) * batch().latents.numpy()
    noisy = noisy + np.sqrt(1 - left).reshape(-1, 1, 1, 1) * batch().noise.numpy()
    np.testing.assert_allclose(model.shown[0][1].numpy(), noisy, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", ["epsilon", "v", "v zero terminal"])
def test_min_snr_weight_has_diffusers_snr(kind):
    """Hang et al., arXiv 2303.09556, with the ratio that diffusers computes."""
    config = {**SD, "prediction_type": SCHEDULES[kind].prediction}
    theirs = DDPMScheduler(**config, rescale_betas_zero_snr=SCHEDULES[kind].zero_terminal_snr)
    times = torch.tensor([10, 200, 500, 900])
    snr = compute_snr(theirs, times)
    expected = snr.clamp(max=5) / (snr if kind == "epsilon" else snr + 1)
    found = denoise.timestep_weights(SCHEDULES[kind], times, ObjectiveConfig(min_snr_gamma=5))
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("kind", SCHEDULES)
@pytest.mark.parametrize("name", ANY)
def test_no_timestep_gives_a_number_that_is_none(kind, name):
    times = torch.arange(1000)
    config = ObjectiveConfig(**ANY[name])
    assert denoise.timestep_weights(SCHEDULES[kind], times, config).isfinite().all()
    answer = tensor(2).requires_grad_()
    batch_loss = got(Says(answer), kind, ANY[name])
    batch_loss.sum().backward()
    assert answer.grad is not None
    assert answer.grad.isfinite().all()


def test_a_perfect_answer_costs_nothing_and_pulls_nowhere():
    for options in ANY.values():
        answer = batch().noise.clone().requires_grad_()
        each = got(Says(answer), "epsilon", options)
        each.sum().backward()
        assert (each == 0).all()
        assert answer.grad is not None
        assert (answer.grad == 0).all(), options


def test_sample_weights_multiply():
    own = torch.tensor([1.0, 0.5, 0.0, 2.0, 1.0, 0.25])
    plain, weighed = (
        got(Says(tensor(2)), "v", {"min_snr_gamma": 5.0}, Samples(w)) for w in (torch.ones(6), own)
    )
    torch.testing.assert_close(weighed, plain * own.double())


@pytest.mark.parametrize("name", ["default", "huber snr"])
def test_a_mask_leaves_the_mean_over_what_it_shows(name):
    """Not the mean over the whole picture, which a small face would dilute."""
    masks = torch.from_numpy(np.random.default_rng(5).random((len(TIMES), 1, 6, 5)))
    masks[0], masks[1] = 0, 1
    masks[2, :, 2:] = 0
    options = ANY[name]
    found = got(Says(tensor(2)), "epsilon", options, Samples(torch.ones(6), masks.float()))
    each = elements(off_target("epsilon", tensor(2)), options, abar("epsilon"))
    shown = np.broadcast_to(masks.float().numpy().astype(float), each.shape)
    totals = (each * shown).sum(axis=(1, 2, 3))
    expected = np.divide(totals, shown.sum(axis=(1, 2, 3)), where=totals > 0, out=np.zeros(6))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6)
    assert found[0] == 0
    assert float(found[1]) == pytest.approx(float(got(Says(tensor(2)), "epsilon", options)[1]))


def test_an_empty_mask_pulls_nowhere():
    answer = tensor(2).requires_grad_()
    masks = torch.ones(6, 1, 6, 5)
    masks[3] = 0
    got(Says(answer), "epsilon", {"loss": "l1"}, Samples(torch.ones(6), masks)).sum().backward()
    assert answer.grad is not None
    assert (answer.grad[3] == 0).all()
    assert (answer.grad[2] != 0).any()
    assert answer.grad.isfinite().all()


def test_what_lies_outside_of_a_mask_does_not_matter():
    masks = torch.ones(6, 1, 6, 5)
    masks[:, :, 3:] = 0
    other = tensor(2)
    other[:, :, 3:] += 7
    samples = Samples(torch.ones(6), masks)
    one, two = (got(Says(answer), "v", {}, samples) for answer in (tensor(2), other))
    assert torch.equal(one, two)


MARKED = torch.tensor([False, True, False, False, True, False])


@pytest.mark.parametrize("kind", ["epsilon", "v zero terminal"])
def test_marked_samples_have_the_base_models_own_answer_as_target(kind):
    """True prior preservation (E6); asked with the network off, for the marked rows alone."""
    answer, base = tensor(2), tensor(3)
    model = Says(answer, base)
    found = got(model, kind, {}, Samples(torch.ones(6), preserve=MARKED))
    off = off_target(kind, answer)
    off[MARKED.numpy()] = (answer - base).numpy()[MARKED.numpy()]
    np.testing.assert_allclose(found.numpy(), (off**2).mean(axis=(1, 2, 3)), rtol=1e-6)
    asked = [(on, times.tolist(), c.states.flatten().tolist()) for on, _, times, c in model.shown]
    assert sorted(asked) == [(False, [50, 998], [1, 4]), (True, TIMES, [0, 1, 2, 3, 4, 5])]
    whole = next(noisy for on, noisy, _, _ in model.shown if on)
    part = next(noisy for on, noisy, _, _ in model.shown if not on)
    assert torch.equal(part, whole[MARKED])


def test_nothing_flows_through_the_base_models_answer():
    answer, base = tensor(2).requires_grad_(), tensor(3).requires_grad_()
    got(Says(answer, base), "v", {}, Samples(torch.ones(6), preserve=MARKED)).sum().backward()
    assert base.grad is None
    assert answer.grad is not None


def test_a_trained_text_encoder_does_not_speak_for_the_base_model():
    """Where it is trained, the base model is told its own states of the captions."""
    model = Says(tensor(2), tensor(3))
    plain = Condition(told().states.flip(0))
    samples = Samples(torch.ones(6), preserve=MARKED, plain=plain)
    got(model, "epsilon", {}, samples)
    heard = next(c for on, _, _, c in model.shown if not on)
    assert heard.states.flatten().tolist() == [4, 1]


def test_without_marks_there_is_one_pass():
    for preserve in (None, torch.zeros(6, dtype=torch.bool)):
        model = Says(tensor(2))
        got(model, "epsilon", {}, Samples(torch.ones(6), preserve=preserve))
        assert [on for on, *_ in model.shown] == [True]


@pytest.mark.parametrize(("kind", "name", "options"), CASES, ids=[f"{k}-{n}" for k, n, _ in CASES])
def test_a_batchs_losses_are_those_of_its_samples_alone(kind, name, options):
    masks = torch.from_numpy(np.random.default_rng(5).random((6, 1, 6, 5)))
    own = torch.tensor([1.0, 0.5, 0.3, 2.0, 1.0, 0.25])

    def samples(rows) -> Samples:
        return Samples(own[rows], masks[rows], MARKED[rows])

    model = Says(tensor(2), tensor(3))
    whole = got(model, kind, options, samples(slice(None)))
    order = [4, 0, 5, 2, 1, 3]
    for row in order:
        alone = got(model, kind, options, samples([row]), rows=[row])
        torch.testing.assert_close(alone[0], whole[row], rtol=1e-12, atol=0)
    turned = got(model, kind, options, samples(order), rows=order)
    torch.testing.assert_close(turned, whole[order], rtol=1e-12, atol=0)


@pytest.mark.parametrize("name", ANY)
def test_accumulated_gradients_are_those_of_the_whole_batch(name):
    """Unequal pieces, each divided by the whole batch's size: the same number in float64."""
    weight = tensor(8, (4, 4)).requires_grad_()
    masks = torch.from_numpy(np.random.default_rng(5).random((6, 1, 6, 5)))

    class Mixes:
        def predict(self, noisy, timesteps, condition):
            return torch.einsum("oc,bchw->bohw", weight, noisy)

    def gradient(pieces: list[list[int]]) -> torch.Tensor:
        weight.grad = None
        for rows in pieces:
            drawn = batch()
            drawn = Draws(drawn.latents[rows], drawn.noise[rows], drawn.timesteps[rows])
            family: Any = Mixes()
            given = (family, SCHEDULES["epsilon"], drawn, told().take(torch.tensor(rows)))
            samples = Samples(torch.ones(len(rows)), masks[rows])
            config = ObjectiveConfig(**ANY[name])
            each = denoise.loss(*given, samples, config, Says(tensor(2)).off)
            (each.sum() / len(TIMES)).backward()
        assert weight.grad is not None
        return weight.grad.clone()

    whole = gradient([[0, 1, 2, 3, 4, 5]])
    assert whole.abs().max() > 0
    torch.testing.assert_close(gradient([[0, 1, 2], [3], [4, 5]]), whole, rtol=1e-12, atol=1e-14)


def test_a_loss_is_float32_or_better():
    drawn = Draws(*(t.float() for t in (tensor(0), tensor(1))), torch.tensor(TIMES))
    for dtype in (torch.bfloat16, torch.float32):
        family: Any = Says(tensor(2).to(dtype))
        samples = Samples(torch.ones(6))
        config = ObjectiveConfig(loss="huber", min_snr_gamma=5)
        each = denoise.loss(family, SCHEDULES["v"], drawn, told(), samples, config, family.off)
        assert each.dtype == torch.float32


def test_the_draws_of_a_batch_are_left_as_they_are():
    drawn, model = batch(), Says(tensor(2), tensor(3))
    family: Any = model
    samples = Samples(torch.ones(6), preserve=MARKED)
    given = (family, SCHEDULES["epsilon"], drawn, told(), samples)
    denoise.loss(*given, ObjectiveConfig(), model.off)
    assert torch.equal(drawn.noise, batch().noise)
    assert torch.equal(drawn.latents, batch().latents)
