"""The metrics of an evaluation as a short aligned block."""

from collections.abc import Mapping

PREFIX = "eval/"
CONDITIONS = ("other_text", "other_frame")


def block(metrics: Mapping[str, float]) -> str:
    """Losses against wrong conditions and samples against the held first frame, a line each.

    Expects the flat names of motion.evaluation: `eval/<loss>`, `eval/<loss>_other_text`,
    `eval/<metric>_held`, and for both of these `_gain`, `_gain_low` and `_gain_high`. A metric that
    takes part in no comparison gets a line of its own.
    """
    values = {name.removeprefix(PREFIX): value for name, value in metrics.items()}
    partners = [f"_{condition}" for condition in CONDITIONS] + ["_held"]
    losses = [n for n in values if any(f"{n}_{c}" in values for c in CONDITIONS)]
    samples = [n for n in values if f"{n}_held" in values]
    compared = {n + suffix for n in losses + samples for suffix in ["", *partners]}
    rest = [n for n in values if n not in compared and not _is_gain(n, compared)]
    width = max((len(n) for n in losses + samples + rest), default=0)
    lines: list[str] = []
    if losses:
        heads = "".join(
            f"  {'gain over ' + c.replace('_', ' ') + ' [95 %]':<31}" for c in CONDITIONS
        )
        lines.append(f"{'loss':<{width}}  {'right':>8}{heads}".rstrip())
    for name in losses:
        gains = "".join(f"  {_gain(values, f'{name}_{c}'):<31}" for c in CONDITIONS)
        lines.append(f"{name:<{width}}  {values[name]:8.5f}{gains}".rstrip())
    for name in samples:
        held, gain = values[f"{name}_held"], _gain(values, f"{name}_held")
        lines.append(f"{name:<{width}}  {values[name]:8.4g}  held {held:.4g}, better by {gain}")
    lines += [f"{name:<{width}}  {values[name]:8.4g}" for name in rest]
    return "\n".join(f"  {line}" for line in lines)


def _is_gain(name: str, compared: set[str]) -> bool:
    base = name.removesuffix("_low").removesuffix("_high").removesuffix("_gain")
    return base != name and base in compared


def _gain(values: Mapping[str, float], name: str) -> str:
    """`+0.0005 [+0.0003, +0.0007]`, or nothing where it was not measured."""
    numbers = [values.get(f"{name}_gain{end}") for end in ("", "_low", "_high")]
    if any(number is None for number in numbers):
        return ""
    mean, low, high = (f"{number:+.2g}" for number in numbers)
    return f"{mean} [{low}, {high}]"
