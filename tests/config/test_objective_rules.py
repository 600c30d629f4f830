"""Contradictions and idle options of [objective] are found before anything is loaded (E13)."""

from __future__ import annotations

import pytest

from renma.config.objective import ObjectiveConfig
from renma.config.objective_rules import objective_problems, pure_noise_problem

ERRORS = [
    ({"min_timestep": 500, "max_timestep": 500}, "epsilon", "min_timestep", "no timestep below"),
    ({"zero_terminal_snr": True}, "epsilon", "zero_terminal_snr", "needs a v-prediction model"),
    (
        {"scale_v_pred_loss_like_noise_pred": True},
        "epsilon",
        "scale_v_pred_loss_like_noise_pred",
        "predicts the noise",
    ),
    ({"v_pred_like_loss": 0.1}, "v_prediction", "v_pred_like_loss", "predicts the velocity"),
]
WARNINGS = [
    ({"noise_offset_random_strength": True}, "noise_offset_random_strength", "noise_offset = 0"),
    ({"adaptive_noise_scale": 0.1}, "adaptive_noise_scale", "noise_offset = 0"),
    ({"multires_noise_discount": 0.5}, "multires_noise_discount", "multires_noise_iterations = 0"),
    ({"ip_noise_gamma_random_strength": True}, "ip_noise_gamma_random_strength", "no effect"),
    ({"noise_offset": 0.1, "multires_noise_iterations": 6}, "noise_offset", "one of them"),
    ({"huber_c": 0.2}, "huber_c", "loss = 'l2'"),
    ({"loss": "l1", "huber_schedule": "constant"}, "huber_schedule", "loss = 'l1'"),
    ({"huber_scale": 2.0}, "huber_scale", "loss = 'l2'"),
    ({"loss": "huber", "huber_scale": 2.0}, "huber_scale", "huber_schedule = 'snr'"),
    ({"min_snr_gamma": 5.0, "debiased_estimation": True}, "min_snr_gamma", "weights multiply"),
    ({"prior_preservation": True, "prior_loss_weight": 0.0}, "prior_preservation", "no effect"),
    ({"zero_terminal_snr": True, "max_timestep": 900}, "zero_terminal_snr", "leaves out"),
]
FINE = [
    ({}, "epsilon"),
    ({"zero_terminal_snr": False}, "epsilon"),
    ({"zero_terminal_snr": True, "scale_v_pred_loss_like_noise_pred": True}, "v_prediction"),
    ({"v_pred_like_loss": 0.1, "min_snr_gamma": 5.0}, "epsilon"),
    (
        {"loss": "huber", "huber_c": 0.2, "huber_schedule": "constant", "huber_scale": 2.0},
        "epsilon",
    ),
    ({"loss": "smooth_l1", "huber_schedule": "exponential"}, "v_prediction"),
    ({"noise_offset": 0.1, "noise_offset_random_strength": True}, "epsilon"),
    ({"multires_noise_iterations": 6, "multires_noise_discount": 0.5}, "epsilon"),
    ({"ip_noise_gamma": 0.1, "ip_noise_gamma_random_strength": True}, "v_prediction"),
    ({"min_timestep": 499, "max_timestep": 500}, "epsilon"),
]


@pytest.mark.parametrize(("options", "prediction", "where", "what"), ERRORS)
def test_contradictions_stop_a_run(options, prediction, where, what):
    errors, _ = objective_problems(ObjectiveConfig(**options), prediction)
    (error,) = errors
    assert error.where == f"objective.{where}"
    assert what in error.what
    assert error.remedy
    assert "\n" not in error.line()


@pytest.mark.parametrize(("options", "where", "what"), WARNINGS)
def test_options_without_effect_are_named(options, where, what):
    errors, (warning,) = objective_problems(ObjectiveConfig(**options), "v_prediction")
    assert not errors
    assert warning.where == f"objective.{where}"
    assert what in warning.line()


@pytest.mark.parametrize(("options", "prediction"), FINE)
def test_what_makes_sense_is_let_be(options, prediction):
    assert objective_problems(ObjectiveConfig(**options), prediction) == ((), ())


def test_a_refused_sampler_names_the_others():
    line = pure_noise_problem("heun", ["ddim", "heun", "euler"]).line()
    assert line.startswith("the sampler 'heun' averages")
    assert line.endswith("Use one of ddim, euler.")
