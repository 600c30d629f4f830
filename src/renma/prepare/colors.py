"""Changes of colour, each in the terms in which it is one: light where light is meant."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from renma.prepare.resize import decoded, encoded

LUMA = np.array([0.2126, 0.7152, 0.0722])
"""Light of red, green and blue (ITU-R BT.709); for linear values."""


@dataclass(frozen=True)
class Shift:
    """One change.

    Args:
        brightness: stops; 1 doubles the light.
        contrast: factor of the distance from the picture's mean, in stored values.
        saturation: factor of the distance from grey, in light.
        hue: degrees by which colours turn around grey, in light.
        gamma: exponent of the stored values.
    """

    brightness: float = 0.0
    contrast: float = 1.0
    saturation: float = 1.0
    hue: float = 0.0
    gamma: float = 1.0


def shifted(picture: Image.Image, shift: Shift) -> Image.Image:
    """Returns a picture with other colours; opacity stays.

    Args:
        picture: mode RGB or RGBA.
        shift: what to change.
    """
    pixels = np.asarray(picture)
    stored = pixels[..., :3] / 255.0
    light = decoded(stored) * 2.0**shift.brightness
    light = light @ _turn(shift.hue).T
    grey = (light @ LUMA)[..., None]
    light = grey + shift.saturation * (light - grey)
    stored = encoded(np.clip(light, 0, 1))
    if shift.contrast != 1:
        mean = _mean(stored, pixels)
        stored = mean + shift.contrast * (stored - mean)
    stored = np.clip(stored, 0, 1) ** shift.gamma
    made = (stored * 255).round().astype(np.uint8)
    alpha = (pixels[..., 3:],) if picture.mode == "RGBA" else ()
    return Image.fromarray(np.concatenate([made, *alpha], axis=-1))


def _mean(stored: np.ndarray, pixels: np.ndarray) -> float:
    """Returns the mean of what is seen: transparent pixels do not count."""
    weights = pixels[..., 3] if pixels.shape[2] == 4 else np.ones(pixels.shape[:2])
    return float(np.average(stored.mean(axis=2), weights=weights)) if weights.any() else 0.5


def _turn(degrees: float) -> np.ndarray:
    """Returns the matrix that turns colours around grey and leaves their light as it is.

    A rotation about the grey axis (Rodrigues), and then as much grey more or less as keeps the
    light: turns add up, and a full one changes nothing.
    """
    axis = np.ones(3) / np.sqrt(3)
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn = cosine * np.eye(3) + sine * cross + (1 - cosine) * np.outer(axis, axis)
    return turn + np.outer(np.ones(3), LUMA - LUMA @ turn)
