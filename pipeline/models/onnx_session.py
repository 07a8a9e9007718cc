"""Sessions of onnxruntime: on one device, with the same answers on every run on the CPU."""

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
    """Load a graph. graph: a file, or a model in memory, which takes 300 MB more where the weights have 200 MB.
    threads: intra-op, on the CPU. Raises DeviceError when the device is missing: a run on a GPU never falls back to the
    CPU."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Image sizes differ: the memory plan of the last image does not fit the next one, and kept memory only grows.
    options.enable_mem_pattern = False
    source = str(graph) if isinstance(graph, Path) else graph.SerializeToString()
    made = ort.InferenceSession(source, options, providers=_providers(device))
    made.disable_fallback()  # to the CPU when a call fails on the GPU
    if device == "cuda" and "CUDAExecutionProvider" not in made.get_providers():
        raise DeviceError(
            "device cuda: onnxruntime could not load its CUDA libraries; install onnxruntime-gpu[cuda,cudnn], or "
            f"{ON_CPU}"
        )
    return made


def _providers(device: Device) -> list[Any]:
    if device == "cpu":
        return ["CPUExecutionProvider"]
    available = ort.get_available_providers()
    if "CUDAExecutionProvider" not in available:
        raise DeviceError(
            f"device cuda: onnxruntime has only {', '.join(available)}; install onnxruntime-gpu in its place, "
            f"or {ON_CPU}"
        )
    with open(os.devnull, "w") as nothing, redirect_stdout(nothing):  # `session` reports missing libraries
        ort.preload_dlls()  # the CUDA libraries that pip installs lie outside the loader's path
    cuda = {
        "cudnn_conv_algo_search": "HEURISTIC",  # the default tries every algorithm for each new image size
        "arena_extend_strategy": "kSameAsRequested",  # the default doubles its share of a GPU that others use too
    }
    return [("CUDAExecutionProvider", cuda), "CPUExecutionProvider"]
