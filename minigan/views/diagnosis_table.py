"""A diagnosis (training/diagnostics.py, a line of diagnostics.jsonl) as text."""

from __future__ import annotations

from typing import Any


def table(found: dict[str, Any]) -> list[str]:
    """A diagnosis for people: a row for each layer, what holds for all of them, the alarms."""
    def cells(path: str, row: dict[str, Any]) -> list[str]:
        bounds, saturation = row["variance_bounds"], row["saturation"]
        bound = "-" if bounds is None else _number(bounds[1])
        return [path, " ".join(map(str, row["shape"])), _number(row["sigma_estimate"]), _number(row["sigma_meant"]),
                _number(row["sigma"]), _number(row["sigma_bar"]), _number(row["sigma_conv"]),
                f"{_number(row['conv_lower'])} to {_number(row['conv_upper'])}", _number(row["gradient"]),
                _number(row["gradient_bar"]), _number(row["removed"]), _number(row["lambda"]), _number(row["variance"]),
                bound, *(f"{saturation[name]:.0%}" if saturation else "-" for name in ("negative", "dead"))]
    head = ["layer", "shape", "sigma est.", "of", "sigma(W)", "sigma(W_bar)", "conv", "its bounds", "|dL/dW|",
            "|dL/dW_bar|", "removed", "lambda", "variance", "at most", "negative", "dead"]
    rows = [head] + [cells(path, row) for path, row in found["layers"].items()]
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    lines = ["  ".join(cell.ljust(w) if i < 2 else cell.rjust(w) for i, (cell, w) in
                       enumerate(zip(row, widths, strict=True))) for row in rows]
    outputs, inactive = found["outputs"], found["inactive"]

    def named(values: dict[str, Any]) -> str:
        return ", ".join(f"{name} {_number(value)}" for name, value in values.items())
    lines += ["", f"iteration {found['iteration']:,}, {found['seconds']:.2g} s",
              f"largest slope of D   {named(found['slope'])}; Lipschitz bound {_number(found['lipschitz_bound'])}",
              "output of D          " + ", ".join(f"{name} {_number(mean)} (sd {_number(sd)})"
                                                  for name, (mean, sd) in outputs.items())
              + f"; right answers {found['accuracy']:.0%}"]
    if inactive is not None:
        lines.append("inactive hinge terms " + ", ".join(f"{name} {share:.0%}" for name, share in inactive.items()))
    lines.append(f"diversity of pictures {_number(found['diversity'])} of the real ones'")
    return lines + ["", *(alarm["text"] for alarm in found["alarms"])] if found["alarms"] else [*lines, "no alarms"]


def _number(x: float | None) -> str:
    return "-" if x is None else f"{x:.3g}"
