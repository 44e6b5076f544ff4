"""A plan as an ONNX file, of opset 17: float32, int64 labels, any batch size. Needs the extra "onnx"."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from minigan import __version__
from minigan.errors import FailedWork
from minigan.exchange.plan import Plan
from minigan.formats.whole import write_whole

OPSET, IR = 17, 8  # read by ONNX Runtime from 1.12 on


def library() -> Any:
    """The package onnx. FailedWork with one line if it is missing."""
    try:
        import onnx
    except ImportError:
        raise FailedWork("--to onnx needs the package onnx; pip install 'minigan[onnx]'") from None
    return onnx


def write(path: Path, plan: Plan, metadata: dict[str, str]) -> None:
    """Write the plan's graph: inputs z or images, and labels; outputs images, or outputs and logits.

    Raises FailedWork if the package onnx is missing or the file cannot be written.
    """
    onnx = library()
    helper, F32 = onnx.helper, onnx.TensorProto.FLOAT
    names = {"x": "z" if len(plan.x_shape) == 1 else "images", "labels": "labels"}
    names |= dict(zip(plan.outputs, ("images",) if len(plan.x_shape) == 1 else ("outputs", "logits"), strict=False))
    nodes: list[Any] = []
    arrays, over_units = dict(plan.weights), _over_units(plan)

    def constant(a: Any, dtype: Any = np.float32) -> str:
        name = f"constant{len(arrays)}"
        arrays[name] = np.asarray(a, dtype)
        return name

    def node(kind: str, *inputs: str, out: str = "", **attributes: Any) -> str:
        out = out or f"node{len(nodes)}"
        nodes.append(helper.make_node(kind, list(inputs), [out], **attributes))
        return out

    for step in plan.steps:
        out, n = names.get(step.output, step.output), step.numbers
        a = [names.get(name, name) for name in step.inputs]
        W, b = f"{step.module}.weight", f"{step.module}.bias"
        more = [b] if b in plan.weights else []
        if step.kind == "linear":
            node("Gemm", a[0], W, *more, out=out, transB=1)
        elif step.kind == "embedding":
            node("Gather", W, a[0], out=out, axis=0)
        elif step.kind == "conv":
            node("Conv", a[0], W, *more, out=out, strides=[n["stride"]] * 2, pads=[n["pad"]] * 4)
        elif step.kind == "deconv":
            node("ConvTranspose", a[0], W, *more, out=out, strides=[n["stride"]] * 2, pads=[n["pad"]] * 4,
                 output_padding=[n["more"]] * 2)
        elif step.kind == "affine":
            scale, shift = f"{step.module}.scale", f"{step.module}.shift"
            if len(a) > 1:
                scale, shift = (node("Gather", name, a[1], axis=0) for name in (scale, shift))
            if step.module not in over_units:
                axes = constant([2, 3] if len(a) > 1 else [1, 2], np.int64)
                scale, shift = (node("Unsqueeze", name, axes) for name in (scale, shift))
            node("Add", node("Mul", a[0], scale), shift, out=out)
        elif step.kind == "standardize":
            d = node("Sub", a[0], node("ReduceMean", a[0], axes=[1, 2, 3]))
            variance = node("ReduceMean", node("Mul", d, d), axes=[1, 2, 3])
            node("Div", d, node("Sqrt", node("Add", variance, constant(n["eps"]))), out=out)
        elif step.kind == "maps":
            rows = node("Reshape", a[0], constant([-1, *n["shape"]], np.int64))
            node("Transpose", rows, out=out, perm=[0, 3, 1, 2])
        elif step.kind == "flatten":
            node("Flatten", node("Transpose", a[0], perm=[0, 2, 3, 1]), out=out)
        elif step.kind == "leaky":
            node("LeakyRelu", a[0], out=out, alpha=n["slope"]) if n["slope"] else node("Relu", a[0], out=out)
        elif step.kind == "times":
            node("Add", node("Mul", a[0], constant(n["factor"])), constant(n["plus"]), out=out)
        elif step.kind == "up":
            node("Resize", a[0], "", constant([1, 1, 2, 2]), out=out, mode="nearest",
                 coordinate_transformation_mode="asymmetric", nearest_mode="floor")
        elif step.kind == "bilinear":
            node("Resize", a[0], "", constant([1, 1, 2, 2]), out=out, mode="linear",
                 coordinate_transformation_mode="half_pixel")
        elif step.kind == "down":
            node("AveragePool", a[0], out=out, kernel_shape=[2, 2], strides=[2, 2])
        elif step.kind == "sum":
            node("ReduceSum", a[0], constant([2, 3], np.int64), out=out, keepdims=0)
        elif step.kind == "mean":
            node("ReduceMean", a[0], out=out, axes=[2, 3], keepdims=0)
        elif step.kind == "squeeze":
            node("Reshape", a[0], constant([-1], np.int64), out=out)
        elif step.kind == "dot":
            node("ReduceSum", node("Mul", *a), constant([1], np.int64), out=out, keepdims=0)
        elif step.kind == "join":
            maps = node("Unsqueeze", a[1], constant([2, 3], np.int64))
            size = node("Slice", node("Shape", a[0]), constant([2], np.int64), constant([4], np.int64))
            ones = constant([1, 1], np.int64)
            maps = node("Expand", maps, node("Concat", ones, size, axis=0))
            node("Concat", a[0], maps, out=out, axis=1)
        else:
            node({"add": "Add", "tanh": "Tanh"}[step.kind], *a, out=out)
    inputs = [helper.make_tensor_value_info(names["x"], F32, ["N", *plan.x_shape])]
    if plan.classes:
        inputs.append(helper.make_tensor_value_info("labels", onnx.TensorProto.INT64, ["N"]))
    ranks = [4] if len(plan.x_shape) == 1 else [1, 2]
    outputs = [helper.make_tensor_value_info(names[name], F32, ["N", *[None] * (rank - 1)])
               for name, rank in zip(plan.outputs, ranks, strict=False)]
    graph = helper.make_graph(nodes, "minigan", inputs, outputs,
                              [onnx.numpy_helper.from_array(a, name) for name, a in arrays.items()])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR,
                              producer_name="minigan", producer_version=__version__)
    helper.set_model_props(model, metadata)
    onnx.checker.check_model(model, full_check=True)
    write_whole(path, model.SerializeToString())


def _over_units(plan: Plan) -> set[str]:
    """Affine steps of vectors, before they become maps; all others are over the channels of maps."""
    found: set[str] = set()
    for step in plan.steps if len(plan.x_shape) == 1 else ():
        if step.kind == "maps":
            return found
        if step.kind == "affine":
            found.add(step.module)
    return found
