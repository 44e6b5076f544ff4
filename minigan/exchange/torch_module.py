"""A plan as plain PyTorch code: one line for each step, and nothing of minigan."""

from __future__ import annotations

from minigan.exchange.plan import Plan, Step

HEAD = '''"""{title}

{call}
Load the weights, which lie beside this file:

    network = {name}()
    network.load_state_dict(torch.load("{file}", weights_only=True))
    network.eval()
"""

import torch
from torch import nn
from torch.nn import functional as F


class Affine(nn.Module):
    """x * scale + shift for each channel: a batch normalization with fixed moments; by label if labels are given."""

    def __init__(self, *shape):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(*shape))
        self.shift = nn.Parameter(torch.zeros(*shape))

    def forward(self, x, labels=None):
        scale, shift = (p if labels is None else p[labels] for p in (self.scale, self.shift))
        if x.ndim == 4:
            scale, shift = scale[..., None, None], shift[..., None, None]
        return x * scale + shift


def standardize(x, eps):
    """Each sample's mean becomes 0, its variance 1."""
    d = x - x.mean(tuple(range(1, x.ndim)), keepdim=True)
    return d / torch.sqrt((d * d).mean(tuple(range(1, x.ndim)), keepdim=True) + eps)


class {name}(nn.Module):
    def __init__(self):
        super().__init__()
'''


def code(plan: Plan, name: str, title: str, file: str) -> str:
    """The text of a Python file with the class `name`; file: where its weights will lie."""
    takes = "z (N, {})".format(*plan.x_shape) if len(plan.x_shape) == 1 else "images (N, {}, {}, {})".format(
        *plan.x_shape)
    takes += f" and labels (N,), integers below {plan.classes}" if plan.classes else ""
    gives = "images (N, channels, height, width) in [-1, 1]" if len(plan.x_shape) == 1 else \
        "one number for each image (N,)" + (", and logits (N, classes)" if len(plan.outputs) > 1 else "")
    text = HEAD.format(title=title, name=name, file=file, call=f"It takes {takes}, and gives {gives}.\n")
    modules = [_module(step, plan) for step in plan.steps if step.module]
    lines = [f"        self.{step.module} = {made}" for step, made in
             zip((s for s in plan.steps if s.module), modules, strict=True)]
    lines += ["", f"    def forward(self, x{', labels' if plan.classes else ''}):"]
    lines += [f"        {step.output} = {_line(step)}" for step in plan.steps]
    return text + "\n".join([*lines, f"        return {', '.join(plan.outputs)}", ""])


def _module(step: Step, plan: Plan) -> str:
    if step.kind == "affine":
        return f"Affine{plan.weights[step.module + '.scale'].shape}"
    W, bias = plan.weights[f"{step.module}.weight"], f"{step.module}.bias" in plan.weights
    n = step.numbers
    if step.kind == "linear":
        return f"nn.Linear({W.shape[1]}, {W.shape[0]}, bias={bias})"
    if step.kind == "embedding":
        return f"nn.Embedding({W.shape[0]}, {W.shape[1]})"
    if step.kind == "conv":
        return f"nn.Conv2d({W.shape[1]}, {W.shape[0]}, {W.shape[2]}, {n['stride']}, {n['pad']}, bias={bias})"
    return f"nn.ConvTranspose2d({W.shape[0]}, {W.shape[1]}, {W.shape[2]}, {n['stride']}, {n['pad']}, {n['more']}, " \
           f"bias={bias})"


def _line(step: Step) -> str:
    a, n = step.inputs, step.numbers
    if step.module:
        return f"self.{step.module}({', '.join(a)})"
    x = a[0]
    return {
        "maps": lambda: f"{x}.reshape(-1, {', '.join(map(str, n['shape']))}).permute(0, 3, 1, 2)",
        "flatten": lambda: f"{x}.permute(0, 2, 3, 1).flatten(1)",
        "leaky": lambda: f"F.leaky_relu({x}, {n['slope']})" if n["slope"] else f"F.relu({x})",
        "standardize": lambda: f"standardize({x}, {n['eps']})",
        "tanh": lambda: f"torch.tanh({x})",
        "times": lambda: f"{x} * {n['factor']} + {n['plus']}",
        "up": lambda: f'F.interpolate({x}, scale_factor=2, mode="nearest")',
        "bilinear": lambda: f'F.interpolate({x}, scale_factor=2, mode="bilinear", align_corners=False)',
        "down": lambda: f"F.avg_pool2d({x}, 2)",
        "add": lambda: f"{x} + {a[1]}",
        "sum": lambda: f"{x}.sum((2, 3))",
        "mean": lambda: f"{x}.mean((2, 3))",
        "squeeze": lambda: f"{x}.reshape(-1)",
        "dot": lambda: f"({x} * {a[1]}).sum(1)",
        "join": lambda: f"torch.cat([{x}, {a[1]}[:, :, None, None].expand(-1, -1, *{x}.shape[2:])], 1)",
    }[step.kind]()
