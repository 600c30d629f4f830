"""How libraries end the names of one layer's tensors, told in kohya's and LyCORIS' suffixes.

Names alone, no numbers, so a file's header can be understood without torch.
"""

from __future__ import annotations

import re

_LYCORIS = (
    "lora_down.weight", "lora_up.weight", "lora_mid.weight", "alpha", "dora_scale", "rank",
    "hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "hada_t1", "hada_t2",
    "lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t2",
    "on_input", "diff", "diff_b", "w_norm", "b_norm", "a1.weight", "a2.weight", "b1.weight",
    "b2.weight", "bm.weight", "oft_blocks", "rescale", "mora", "mora_type", "bias_scaled",
    "q_layer.weight", "p_layer.weight", "lambda_layer", "weight", "scalar",
)  # fmt: skip
CANONICAL = frozenset(_LYCORIS)
"""Suffixes of kohya's and LyCORIS' files, and the two of MoRA and (IA)3 that only renma writes."""

RANKED = ("lora_down.weight", "hada_w1_b", "lokr_w2_b", "lokr_w1_b")
"""Tensors whose first axis is the rank that alpha is divided by."""

_SPELLINGS = {
    r"lora_A(\.[^.]+)?\.weight|lora_A": "lora_down.weight",
    r"lora_B(\.[^.]+)?\.weight|lora_B": "lora_up.weight",
    r"lora(_linear_layer)?\.down\.weight": "lora_down.weight",
    r"lora(_linear_layer)?\.up\.weight": "lora_up.weight",
    r"lora_magnitude_vector(\.[^.]+)?(\.weight)?": "lora_magnitude_vector",
    r"ia3_l(\.[^.]+)?": "ia3_l",
    r"lora(_linear_layer)?\.alpha": "alpha",
    "|".join(map(re.escape, sorted(CANONICAL, key=len, reverse=True))): "",
}
_ENDING = re.compile(
    r"(?:(?P<path>.*?)\.)??(?:"
    + "|".join(f"(?P<s{i}>{pattern})" for i, pattern in enumerate(_SPELLINGS))
    + r")\Z"
)
_MEANINGS = tuple(_SPELLINGS.values())


def split(name: str) -> tuple[str, str] | None:
    """Returns (what stands before, canonical suffix) of a tensor's name; None if unknown.

    ``lora_magnitude_vector`` and ``ia3_l`` keep their names: their values have to be changed too.
    """
    match = _ENDING.fullmatch(name)
    if match is None:
        return None
    index = next(i for i in range(len(_MEANINGS)) if match[f"s{i}"] is not None)
    return match["path"] or "", _MEANINGS[index] or match[f"s{index}"]
