"""Trains the generative fill, from a checkpoint where there is one, with the same numbers on every run.

What a step sees depends on the seed and the step's number alone, so a run that was stopped resumes bit for bit as if it
had not been (on one device with one number of threads).
"""

from __future__ import annotations

import copy
import json
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Final, TypeAlias

import cv2
import numpy as np
import torch
from safetensors.torch import save_file

from pipeline.contracts import Source
from pipeline.fill.generative.network_input import network_input
from pipeline.fill.generative.train import losses
from pipeline.fill.generative.train.config import Training
from pipeline.fill.generative.train.discriminator import Discriminator
from pipeline.fill.generative.train.export import export, load
from pipeline.fill.generative.train.generator import Generator
from pipeline.fill.generative.train.holes import hole
from pipeline.fill.generative.train.photos import Photo, PhotoDecoder, gather, random_window
from pipeline.fill.generative.train.validate import validate
from pipeline.records import Rgb

CHECKPOINT: Final = "checkpoint.pt"
WEIGHTS: Final = "generative.safetensors"
NETWORK: Final = "generative.onnx"
Log = Callable[[str], None]
_Batch: TypeAlias = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


class Run:
    """A training with its state: the networks, their optimizers, the step."""

    def __init__(self, training: Training, photos: Sequence[Photo]) -> None:
        torch.manual_seed(training.seed)
        self.training = training
        self.photos = photos
        self._decoded = PhotoDecoder()
        self._device = torch.device(training.device)
        self.generator = Generator().to(self._device)
        self.discriminator = Discriminator(training.discriminator_width).to(self._device)
        self.average = copy.deepcopy(self.generator).requires_grad_(False)
        self._generator_optimizer = torch.optim.Adam(self.generator.parameters(), lr=training.lr, betas=(0.5, 0.99))
        self._discriminator_optimizer = torch.optim.Adam(
            self.discriminator.parameters(), lr=training.discriminator_lr, betas=(0.5, 0.99)
        )
        self.step = 0
        self._pool = ThreadPoolExecutor(1)
        self._prefetched: tuple[int, Future[_Batch]] | None = None

    def advance(self) -> dict[str, float]:
        """Take one step of the generator and, after the warm-up, one of the discriminator. -> the losses by name."""
        if self._prefetched is None or self._prefetched[0] != self.step:
            self._prefetched = self.step, self._pool.submit(self._batch, self.step)
        real, mask, inputs = (part.to(self._device) for part in self._prefetched[1].result())
        self._prefetched = self.step + 1, self._pool.submit(self._batch, self.step + 1)
        with self._precision():
            painted = self.generator(inputs).float()
        inside, outside = losses.reconstruction(painted, real, mask, self.training.pool)
        filled = real * (1 - mask) + painted * mask
        detail = losses.detail(filled, real, mask, self.training.pool)
        found = {"inside": inside, "outside": outside, "detail": detail}
        total = self.training.inside * inside + self.training.outside * outside + self.training.detail * detail
        if self.step >= self.training.warm_up:
            real_features, found["discriminator"] = self._advance_discriminator(real, filled.detach(), mask)
            self.discriminator.requires_grad_(False)
            with self._precision():
                logits, filled_features = self.discriminator(filled, mask)
            self.discriminator.requires_grad_(True)
            found["adversarial"] = losses.adversarial(logits.float(), mask)
            found["features"] = losses.features(real_features, filled_features)
            total = (
                total
                + self.training.adversarial_weight * found["adversarial"]
                + self.training.feature_weight * found["features"]
            )
        _descend(self._generator_optimizer, total, self.generator)
        self._update_average()
        self.step += 1
        return {name: float(value.detach()) for name, value in found.items()}

    def _advance_discriminator(
        self, real: torch.Tensor, filled: torch.Tensor, mask: torch.Tensor
    ) -> tuple[list[torch.Tensor], torch.Tensor]:
        """Take one step of the discriminator. -> its features of the real windows, and its loss."""
        with self._precision():
            logits, features = self.discriminator(torch.cat([real, filled]), torch.cat([mask, mask]))
        on_real, on_filled = logits.float().chunk(2)
        loss = losses.discriminator(on_real, on_filled, mask)
        total = loss
        if self.step % self.training.penalty_every == 0:
            half = max(1, len(real) // 2)
            total = total + self.training.penalty * losses.penalty(self.discriminator, real[:half], mask[:half])
        _descend(self._discriminator_optimizer, total, self.discriminator)
        return [feature.detach()[: len(real)] for feature in features], loss

    def _batch(self, step: int) -> _Batch:
        """Make real windows (n, 3, side, side) of -1..1, masks (n, 1, side, side) and the generator's inputs,
        on the CPU while the step before runs."""
        side, count = self.training.sizes[step % len(self.training.sizes)]
        rng = np.random.default_rng((self.training.seed, step))
        pixels = [self._window(side, rng) for _ in range(count)]
        masks = [hole(rng, side) for _ in range(count)]
        real = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float().div(127.5).sub(1)
        mask = torch.from_numpy(np.stack(masks)).unsqueeze(1).float()
        inputs = [network_input(rgb, hidden) for rgb, hidden in zip(pixels, masks, strict=True)]
        return real, mask, torch.from_numpy(np.stack(inputs))

    def _window(self, side: int, rng: np.random.Generator) -> Rgb:
        photo = self.photos[int(rng.integers(len(self.photos)))]
        return random_window(self._decoded(photo), side, rng)

    def _update_average(self) -> None:
        """Update the moving average of the weights, which is kept in the end."""
        decay = min(self.training.ema_decay, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for slow, fast in zip(self.average.parameters(), self.generator.parameters(), strict=True):
                slow.lerp_(fast, 1 - decay)

    def _precision(self) -> torch.autocast | nullcontext[None]:
        mixed = self.training.precision == "bfloat16"
        return torch.autocast(self._device.type, torch.bfloat16) if mixed else nullcontext()

    def save(self, folder: Path) -> None:
        """Write the checkpoint, and the averaged weights in half precision: each whole or not at all."""
        state = {name: part.state_dict() for name, part in self._parts().items()}
        torch.save({"step": self.step, **state}, folder / f".{CHECKPOINT}")
        os.replace(folder / f".{CHECKPOINT}", folder / CHECKPOINT)
        halves = {name: value.half().cpu().contiguous() for name, value in self.average.state_dict().items()}
        save_file(halves, folder / f".{WEIGHTS}")
        os.replace(folder / f".{WEIGHTS}", folder / WEIGHTS)

    def begin(self, weights: Path) -> None:
        """Take the generator's weights from a file of an earlier training; all else begins anew. Raises ConfigError."""
        state = load(weights).state_dict()
        for module in (self.generator, self.average):
            module.load_state_dict(state)

    def restore(self, folder: Path) -> bool:
        """Resume from the folder's checkpoint. -> False when there is none yet."""
        if not (folder / CHECKPOINT).is_file():
            return False
        state = torch.load(folder / CHECKPOINT, map_location=self._device, weights_only=True)
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        for optimizer, lr in (
            (self._generator_optimizer, self.training.lr),
            (self._discriminator_optimizer, self.training.discriminator_lr),
        ):
            for group in optimizer.param_groups:
                group["lr"] = lr  # of this config, not of the checkpoint's
        self.step = int(state["step"])
        return True

    def _parts(self) -> dict[str, torch.nn.Module | torch.optim.Optimizer]:
        return {
            "generator": self.generator, "average": self.average, "discriminator": self.discriminator,
            "generator_optimizer": self._generator_optimizer,
            "discriminator_optimizer": self._discriminator_optimizer,
        }  # fmt: skip


def train(training: Training, log: Log, open_source: Callable[[str], Source]) -> Run:
    """Train to `training.steps`, from the checkpoint in `training.folder` if there is one, and export the network.

    Raises SourceError, and ConfigError for a `start` that holds no weights of this network.
    """
    folder = Path(training.folder)
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(training.threads)
    cv2.setNumThreads(1)
    photos, left_out = gather(training.data, max(side for side, _ in training.sizes), open_source)
    kept, held_out = photos[training.held_out :], photos[: training.held_out]
    (folder / "data.json").write_text(_data_json(kept, held_out, left_out))
    run = Run(training, kept)
    resumed = run.restore(folder)
    if not resumed and training.start:
        run.begin(Path(training.start))
    log(f"{len(kept)} photographs, {len(held_out)} held out, {len(left_out)} left out; step {run.step} ({resumed=})")
    began, saved = time.monotonic(), time.monotonic()
    while run.step < training.steps:
        found = run.advance()
        if run.step % training.log_every == 0:
            speed = (time.monotonic() - began) / training.log_every
            began = time.monotonic()
            log(f"step {run.step}: {' '.join(f'{n}={v:.4f}' for n, v in found.items())} ({speed:.2f} s a step)")
        if run.step % training.sheet_every == 0 or run.step == training.steps:
            log(f"step {run.step}: {validate(run.average, held_out or kept, folder, run.step)}")
        if time.monotonic() - saved > training.save_seconds or run.step == training.steps:
            run.save(folder)
            saved = time.monotonic()
    export(run.average, folder / NETWORK)
    return run


def _descend(optimizer: torch.optim.Optimizer, loss: torch.Tensor, module: torch.nn.Module) -> None:
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(module.parameters(), 10.0)
    optimizer.step()


def _data_json(kept: Sequence[Photo], held_out: Sequence[Photo], left_out: Sequence[str]) -> str:
    """List what was used: name, licence and sha256 of each photograph."""
    rows = [
        {"name": photo.image.ref.member, "licence": photo.licence, "sha256": photo.sha256, "held_out": held}
        for held, photos in ((False, kept), (True, held_out))
        for photo in photos
    ]
    return json.dumps({"photographs": rows, "left_out": list(left_out)}, indent=1)
