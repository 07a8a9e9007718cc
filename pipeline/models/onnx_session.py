"""How an ONNX graph is made ready to run: on one device, the same answers on every run on the CPU."""

from __future__ import annotations

import os
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import onnx
import onnxruntime as ort

from pipeline.errors import DeviceError
from pipeline.models import ON_CPU
from pipeline.records import Device


def session(graph: onnx.ModelProto | Path, device: Device, threads: int) -> ort.InferenceSession:
    """graph: a file, taken as it is, costs 300 MB less than a graph in memory where the weights are 200 MB. threads:
    intra-op, on the CPU. Raises DeviceError when the device is not there: a run that was told to use a GPU never crawls
    on the CPU unseen."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Sizes differ from image to image: a plan of the last one's memory is of no use, and kept memory only grows.
    options.enable_mem_pattern = False
    source = str(graph) if isinstance(graph, Path) else graph.SerializeToString()
    made = ort.InferenceSession(source, options, providers=_providers(device))
    made.disable_fallback()  # to the CPU, when a call fails on the GPU
    if device == "cuda" and "CUDAExecutionProvider" not in made.get_providers():
        raise DeviceError(
            "device cuda: onnxruntime could not load its CUDA libraries; install onnxruntime-gpu[cuda,cudnn], or "
            f"{ON_CPU}"
        )
    return made


def _providers(device: Device) -> list[Any]:
    if device == "cpu":
        return ["CPUExecutionProvider"]
    there = ort.get_available_providers()
    if "CUDAExecutionProvider" not in there:
        raise DeviceError(
            f"device cuda: onnxruntime has only {', '.join(there)}; install onnxruntime-gpu in its place, or {ON_CPU}"
        )
    with open(os.devnull, "w") as nothing, redirect_stdout(nothing):  # it prints what it does not find; we raise it
        ort.preload_dlls()  # those that pip installs beside it lie where no loader looks
    cuda = {
        "cudnn_conv_algo_search": "HEURISTIC",  # the default tries every algorithm anew for each image size
        "arena_extend_strategy": "kSameAsRequested",  # the default doubles what it holds of a GPU that others share
    }
    return [("CUDAExecutionProvider", cuda), "CPUExecutionProvider"]
