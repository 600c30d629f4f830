"""``renma file resize``: a LoRA's best approximation of another rank.

Each layer's update is cut at its largest singular values (Eckart-Young: no matrix of that rank is
nearer), found from QR of both factors and the SVD of a small core. The scale alpha / rank stays.
Methods as in kohya's resize_lora.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from renma.config.file_tasks import ResizeOptions
from renma.core.errors import UserError
from renma.core.events import Report
from renma.engine import low_rank
from renma.formats.lora_file import LoraFile
from renma.use.layer_update import (
    Layer,
    Update,
    block,
    in_precision,
    lora_layer,
    precision,
    scale_of,
    update_of,
)
from renma.use.lora_output import keep_inputs, naming_of, read, save
from renma.use.network_facts import commented, described

_FACTORS = ("lora_up", "hada_", "lokr_")
_LIMITS = {"sv_ratio": (2.0, 1e9), "sv_cumulative": (0.0, 1.0), "sv_fro": (0.0, 1.0)}


@dataclass(frozen=True, slots=True)
class Row:
    """What became of one layer.

    Args:
        key: the layer.
        before: rank.
        after: rank.
        norm: Frobenius norm of the update.
        error: ||old - new|| / ||old||.
        share: sum of the kept singular values / sum of all.
    """

    key: str
    before: int
    after: int
    norm: float
    error: float
    share: float


def run(options: ResizeOptions, report: Report) -> None:
    """Writes the resized file and says what was lost.

    Raises:
        UserError: the method's number is missing or outside its range, or nothing has a rank.
    """
    parameter = _parameter(options)
    keep_inputs(options.out, [options.file])
    file = read(options.file, report)
    layers: dict[str, Layer] = {}
    rows: list[Row] = []
    for done, (key, layer) in enumerate(file.layers.items(), 1):
        layers[key], row = resized(key, layer, options, parameter)
        rows += [row] if row else []
        report.event("working", done=done, total=len(file.layers), what="layers")
    if not rows:
        raise UserError("has no layer with factors to resize", where=options.file)
    save(options.out, layers, _metadata(file, layers, options), naming_of([file], layers))
    _summary(rows, len(layers), options, report)
    report.line(f"wrote {options.out}")


def resized(
    key: str, layer: Layer, options: ResizeOptions, parameter: float
) -> tuple[Layer, Row | None]:
    """Returns a layer with its new rank; layers without low-rank factors as they are.

    DoRA's magnitudes are kept beside the shortened update.
    """
    if not any(name.startswith(_FACTORS) for name in layer):
        return in_precision(layer, options.precision), None
    factored = {name: tensor for name, tensor in layer.items() if name != "dora_scale"}
    update, scale = update_of(key, factored, options.file), scale_of(layer)
    found = _spectrum(update, scale)
    conv = len(update.shape) == 4 and update.shape[2:] != (1, 1)
    most = options.conv_rank if conv and options.conv_rank else options.rank
    rank = low_rank.choose_rank(found.values, options.method, parameter, most)
    dtype = precision(options.precision, [factored])
    new = lora_layer(found.cut(rank).times(scale), update.shape, dtype, scale * rank)
    if "dora_scale" in layer:
        new |= in_precision({"dora_scale": layer["dora_scale"]}, options.precision)
    total = found.values.sum().item()
    return new, Row(
        key,
        before=update.factors.rank if update.factors else len(found.values),
        after=rank,
        norm=found.norm * abs(scale),
        error=found.error(rank),
        share=found.values[:rank].sum().item() / total if total else 1.0,
    )


def _spectrum(update: Update, scale: float) -> low_rank.Spectrum:
    """Returns the SVD of an update without its scale, as the methods' limits mean it."""
    if update.factors is not None:
        return low_rank.spectrum(update.factors.times(1 / scale))
    assert update.whole is not None
    whole = update.whole.flatten(1) / scale
    return low_rank.spectrum_of(whole, min(whole.shape), 0)


def _parameter(options: ResizeOptions) -> float:
    """Returns the method's number.

    Raises:
        UserError: it is missing, superfluous or outside its range.
    """
    if options.method == "static":
        if options.parameter is not None:
            raise UserError("--parameter belongs to a dynamic method", remedy="Give --method too.")
        return 0.0
    low, high = _LIMITS[options.method]
    span = f"between {low:g} and {high:g}" if high <= 1 else f"of {low:g} or more"
    if options.parameter is None:
        raise UserError(
            f"--method {options.method} needs a number", remedy=f"Give a --parameter {span}."
        )
    if not low <= options.parameter <= high:
        raise UserError(f"--parameter {options.parameter:g} is not {span}", where=options.method)
    return options.parameter


def _metadata(file: LoraFile, layers: dict[str, Layer], options: ResizeOptions) -> dict[str, str]:
    found = described(file.metadata, layers)
    before = file.metadata.get("ss_network_dim", "another rank")
    if options.method == "static":
        return commented(found, f"resized from {before} to {options.rank}")
    found["ss_network_dim"] = found["ss_network_alpha"] = "Dynamic"
    how = f"{options.method} {options.parameter:g}, at most {options.rank}"
    return commented(found, f"resized from {before} by {how}")


def _summary(rows: Sequence[Row], layers: int, options: ResizeOptions, report: Report) -> None:
    how = options.method if options.parameter is None else f"{options.method} {options.parameter:g}"
    report.line(
        f"{len(rows)} layers, rank {_span(r.before for r in rows)} -> "
        f"{_span(r.after for r in rows)} ({how})"
    )
    blocks: dict[str, list[Row]] = {}
    for row in rows:
        blocks.setdefault(block(row.key), []).append(row)
    width = max(map(len, blocks))
    report.line(f"  {'block':{width}}  layers  rank     norm kept  error")
    for name, some in blocks.items():
        error = _error(some)
        report.line(
            f"  {name:{width}}  {len(some):6}  {_span(r.after for r in some):7}"
            f"  {_kept(error):8.2%}  {error:.2e}"
        )
    error, share = _error(rows), sum(row.share for row in rows) / len(rows)
    report.line(
        f"kept: {_kept(error):.2%} of the norm, on average {share:.2%} of the singular values' "
        f"sum; error {error:.2e} of the update's norm"
    )
    short = sum(row.after == row.before < options.rank for row in rows)
    if short and options.method == "static":
        report.line(f"{short} layers have no higher rank than theirs to give and keep it")
    if layers > len(rows):
        report.line(f"{layers - len(rows)} layers without low-rank factors are as they were")


def _error(rows: Sequence[Row]) -> float:
    return low_rank.total_error([(row.error, row.norm) for row in rows])


def _kept(error: float) -> float:
    return max(0.0, 1 - error**2) ** 0.5


def _span(numbers: Iterable[int]) -> str:
    found = sorted(set(numbers))
    return str(found[0]) if len(found) == 1 else f"{found[0]}-{found[-1]}"
