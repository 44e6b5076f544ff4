"""A diagnosis (training/diagnosis/diagnostics.py, a line of diagnostics.jsonl) as text."""

from __future__ import annotations

from typing import Any

from minigan.formats.plain_text import columns, short


def table(found: dict[str, Any]) -> list[str]:
    """A diagnosis for people: a row for each layer, what holds for all of them, the alarms."""
    def cells(path: str, row: dict[str, Any]) -> list[str]:
        bounds, saturation = row["variance_bounds"], row["saturation"]
        bound = "-" if bounds is None else short(bounds[1])
        return [path, " ".join(map(str, row["shape"])), short(row["sigma_estimate"]), short(row["sigma_meant"]),
                short(row["sigma"]), short(row["sigma_bar"]), short(row["sigma_conv"]),
                f"{short(row['conv_lower'])} to {short(row['conv_upper'])}", short(row["gradient"]),
                short(row["gradient_bar"]), short(row["removed"]), short(row["lambda"]), short(row["variance"]),
                bound, *(f"{saturation[name]:.0%}" if saturation else "-" for name in ("negative", "dead"))]
    head = ["layer", "shape", "sigma est.", "of", "sigma(W)", "sigma(W_bar)", "conv", "its bounds", "|dL/dW|",
            "|dL/dW_bar|", "removed", "lambda", "variance", "at most", "negative", "dead"]
    rows = [head] + [cells(path, row) for path, row in found["layers"].items()]
    lines = columns(rows, right=range(2, len(head)))
    outputs, inactive = found["outputs"], found["inactive"]

    def named(values: dict[str, Any]) -> str:
        return ", ".join(f"{name} {short(value)}" for name, value in values.items())
    lines += ["", f"iteration {found['iteration']:,}, {found['seconds']:.2g} s",
              f"largest slope of D   {named(found['slope'])}; Lipschitz bound {short(found['lipschitz_bound'])}",
              "output of D          " + ", ".join(f"{name} {short(mean)} (sd {short(sd)})"
                                                  for name, (mean, sd) in outputs.items())
              + ("" if found["accuracy"] is None else f"; right in {found['accuracy']:.0%} of one batch")]
    if inactive is not None:
        lines.append("inactive hinge terms " + ", ".join(f"{name} {share:.0%}" for name, share in inactive.items()))
    lines.append(f"diversity of fakes {short(found['diversity'])} of the real ones'")
    return lines + ["", *(alarm["text"] for alarm in found["alarms"])] if found["alarms"] else [*lines, "no alarms"]
