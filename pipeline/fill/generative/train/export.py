"""`python -m pipeline.fill.generative.train.export WEIGHTS ONNX`: writes the network as fill=generative runs it.

WEIGHTS: what a training leaves (.safetensors), or an earlier export, whose weights are written again. ONNX: the file to
write.
"""

from __future__ import annotations

import argparse
import copy
import os
import warnings
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import load_file

from pipeline.errors import ConfigError, one_line
from pipeline.fill.generative.network_input import CHANNELS
from pipeline.fill.generative.train.generator import Generator


def load(file: Path) -> Generator:
    """The network with the weights of a .safetensors file or of an export, in float32. Raises ConfigError."""
    try:
        tensors = _from_onnx(file) if file.suffix == ".onnx" else load_file(file)
    except OSError:
        raise
    except Exception as error:  # protobuf and safetensors raise kinds of their own
        raise ConfigError(f"{file.name}: not a file of weights that can be read: {one_line(error)}") from error
    network = Generator().eval()
    try:
        network.load_state_dict({name: value.float() for name, value in tensors.items()})
    except RuntimeError as error:
        raise ConfigError(f"{file.name}: expected weights of the generative network: {one_line(error)}") from error
    if odd := [name for name, value in tensors.items() if not torch.isfinite(value).all()]:
        raise ConfigError(f"{file.name}: {odd[0]}: expected finite numbers; the file is damaged or training diverged")
    return network


def export(network: Generator, file: Path) -> None:
    """Write the network as ONNX, whole or not at all: weights in half precision, arithmetic in float32."""
    part = file.with_name(f".{file.name}")
    axes = {0: "n", 2: "h", 3: "w"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the newer exporter needs a package that nothing else here does
        torch.onnx.export(
            copy.deepcopy(network).eval().cpu(),
            (torch.zeros(1, CHANNELS, 64, 64),),
            part,
            dynamo=False,
            opset_version=17,
            input_names=["window"],
            output_names=["painted"],
            dynamic_axes={"window": axes, "painted": axes},
        )
    model = onnx.load(part)
    _halve(model.graph)
    onnx.checker.check_model(model)
    part.write_bytes(model.SerializeToString(deterministic=True))
    os.replace(part, file)


def _halve(graph: onnx.GraphProto) -> None:
    """Keep every weight, by its name, as float16 and cast it where it is used."""
    casts = {tensor.name: f"{tensor.name}.float32" for tensor in graph.initializer}
    for tensor in graph.initializer:
        half = numpy_helper.to_array(tensor).astype(np.float16)
        tensor.CopyFrom(numpy_helper.from_array(half, tensor.name))
    nodes = [helper.make_node("Cast", [name], [cast], to=TensorProto.FLOAT) for name, cast in casts.items()]
    for node in graph.node:
        node.input[:] = [casts.get(name, name) for name in node.input]
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)


def _from_onnx(file: Path) -> Mapping[str, torch.Tensor]:
    graph = onnx.load(file).graph
    return {tensor.name: torch.from_numpy(numpy_helper.to_array(tensor).copy()) for tensor in graph.initializer}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("weights", type=Path)
    parser.add_argument("onnx", type=Path)
    args = parser.parse_args()
    export(load(args.weights), args.onnx)
    print(sha256(args.onnx.read_bytes()).hexdigest(), args.onnx)


if __name__ == "__main__":
    main()
