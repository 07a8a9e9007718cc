"""Makes mtcnn.json: what facenet-pytorch's MTCNN finds on the demo photographs. README.md says in which environment.

facenet-pytorch pins an old torch and takes one function from torchvision, batched_nms. Only its networks and its
`detect_face` are imported here, with that function written out, so that neither pin matters.
"""

from __future__ import annotations

import json
import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import torch
from make import HERE, PHOTOS, photo


def batched_nms(boxes: torch.Tensor, scores: torch.Tensor, group: torch.Tensor, overlap: float) -> torch.Tensor:
    """As torchvision documents `nms`, for boxes of one image: a box goes when its IoU with a better one is larger."""
    order, kept = torch.argsort(scores, descending=True, stable=True), []
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    while len(order):
        best, rest = order[0], order[1:]
        kept.append(best)
        sides = torch.minimum(boxes[best, 2:4], boxes[rest, 2:4]) - torch.maximum(boxes[best, :2], boxes[rest, :2])
        both = sides.clamp(min=0).prod(dim=1)
        order = rest[both / (areas[best] + areas[rest] - both) <= overlap]
    return torch.stack(kept) if kept else torch.empty(0, dtype=torch.long)


def stand_in(name: str, **members: object) -> None:
    """A module, so that importing a part of a package does not run the rest of it."""
    module = ModuleType(name)
    module.__dict__.update(members)
    sys.modules[name] = module


def main() -> None:
    spec = find_spec("facenet_pytorch")
    if spec is None or spec.origin is None:
        raise SystemExit("pip install --no-deps facenet-pytorch==2.6.0")
    folder = Path(spec.origin).parent
    stand_in("facenet_pytorch", __path__=[str(folder)])
    stand_in("facenet_pytorch.models", __path__=[str(folder / "models")])
    stand_in("torchvision.transforms", functional=None)
    stand_in("torchvision.ops.boxes", batched_nms=batched_nms)
    for name in ("torchvision", "torchvision.ops"):
        stand_in(name, __path__=[])
    from facenet_pytorch.models.mtcnn import ONet, PNet, RNet
    from facenet_pytorch.models.utils.detect_face import detect_face

    nets = [net().eval() for net in (PNet, RNet, ONet)]
    found = {}
    for name in PHOTOS:
        try:
            with torch.no_grad():
                (boxes,), _ = detect_face(photo(name), 20, *nets, [0.6, 0.7, 0.7], 0.709, "cpu")
        except RuntimeError as error:  # its third step cannot take a picture in which the first found nothing
            print(f"{name}: {error}", file=sys.stderr)
            boxes = []
        found[name] = [[round(float(value), 4) for value in box] for box in boxes]
    text = json.dumps({"made with": f"facenet-pytorch 2.6.0, torch {torch.__version__}", "faces": found}, indent=1)
    (HERE / "mtcnn.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
