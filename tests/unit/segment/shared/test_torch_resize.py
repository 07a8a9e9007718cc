"""What a network is shown is what Pillow, and with it every image processor of transformers, would show it."""

import importlib
import json

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.models.torch_options import TorchOptions
from pipeline.segment.shared.preprocess import from_config
from pipeline.segment.shared.torch_resize import resized
from pipeline.segment.shared.torch_runner import Net
from tests.golden.make import photo

FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}
PROCESSORS: dict[str, tuple[str, dict[str, object]]] = {
    "segformer": ("Segformer", {"resample": 3}),
    "beit": ("Beit", {}),
    "dpt": ("DPT", {}),
    "mobilenet_v2": ("MobileNetV2", {"do_center_crop": False}),
    "mask2former": ("Mask2Former", {}),
    "maskformer": ("MaskFormer", {}),
    "eomt": ("Eomt", {}),
    "grounding_dino": ("GroundingDino", {}),
    "vit": ("ViT", {}),  # that of CLIPSeg
}


@pytest.mark.parametrize("resample", FILTERS)
@pytest.mark.parametrize("size", [(64, 64), (20, 31), (1, 1), (97, 40), (61, 200), (300, 7), (200, 320)])
def test_every_pixel_is_pillows(resample: str, size: tuple[int, int]) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (61, 97, 3)).astype(np.uint8)
    rgb[:, 40:] = np.where(rgb[:, 40:] > 127, 255, 0)  # bicubic overshoots
    wanted = np.asarray(Image.fromarray(rgb).resize(size[::-1], FILTERS[resample]))
    found = resized(torch.from_numpy(rgb).permute(2, 0, 1), size, resample)
    np.testing.assert_array_equal(found.permute(1, 2, 0).numpy(), wanted)


@pytest.mark.slow
@pytest.mark.parametrize("family", PROCESSORS)
def test_every_reference_processor_shows_a_network_the_same(family: str) -> None:
    module = importlib.import_module(f"transformers.models.{family}.image_processing_pil_{family}")
    kind, values = PROCESSORS[family]
    processor = getattr(module, f"{kind}ImageProcessorPil")(**values)
    rgb = photo("coffee")[:, :450]
    wanted = processor(Image.fromarray(rgb), return_tensors="pt")["pixel_values"][0]
    how = from_config(json.loads(processor.to_json_string()))
    found = Net(torch.nn.Identity(), "cpu", 1, TorchOptions()).prepared(rgb, how)
    grey_level = 1 / how.scale / torch.tensor(how.std).view(3, 1, 1)
    assert found.shape == wanted.shape
    assert float(((found - wanted).abs() / grey_level).max()) < 0.01
