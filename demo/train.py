"""Train the demo model: `python -m demo.train` writes demo/shapes.onnx.

Owns the training recipe and the accuracy it states: the committed file reaches a mean intersection over union of
0.811 on 200 held-out images in float, and 0.795 with its twelve largest convolutions in int8 (this project's
quantization, 32 calibration images; noise 0.43). Its one rule: everything is seeded, so the same versions of torch
and numpy on the same kind of processor give the same file. Takes about six minutes on two cores. Needs the `[torch]`
and `[demo]` extras; nothing else in the project imports this module.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import click
import numpy as np
import onnx
import torch
from torch.nn import functional

from demo.network import Folded, fold, make_module, spread_channels, write_onnx
from demo.scoring import mean_iou, to_labels
from demo.shapes import CLASSES, INPUT_NAME, OUTPUT_NAME, Stream, draw_batch, held_out

__all__ = ["evaluate", "finished_model", "main", "train"]

BATCH_SIZE = 10
# Smaller than the model's input: a fully convolutional network learns as much per pixel from crops.
CROP_SIZE = 160
HELD_OUT_IMAGES = 200
PEAK_LEARNING_RATE = 3e-3
# Int8 then costs about a point of accuracy: enough to see, too little to spoil the result.
CHANNEL_SPREAD = 1.0


def train(steps: int, seed: int) -> torch.nn.Module:
    """Train on freshly drawn images, each seen once.

    Args:
        steps: Number of batches of `BATCH_SIZE` images.
        seed: Seed of the initial weights and of the images.

    Returns:
        The trained module, in evaluation mode.
    """
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True)
    network = make_module()
    optimizer = torch.optim.AdamW(network.parameters(), lr=PEAK_LEARNING_RATE, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_LEARNING_RATE, total_steps=steps, pct_start=0.15)
    # Three pixels in four are background; without weights the small crosses are learned last.
    weights = torch.tensor([0.5] + [1.0] * (len(CLASSES) - 1))
    network.train()
    started = time.monotonic()
    for step in range(steps):
        batch = draw_batch(Stream.TRAINING, seed, range(step * BATCH_SIZE, (step + 1) * BATCH_SIZE), CROP_SIZE)
        logits = network(torch.from_numpy(batch.images))
        loss = functional.cross_entropy(logits, torch.from_numpy(batch.labels.astype(np.int64)), weights)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 100 == 0 or step == steps - 1:
            click.echo(f"step {step:4d} of {steps}  loss {loss.item():.3f}  {time.monotonic() - started:.0f} s")
    return network.eval()


def evaluate(model: onnx.ModelProto, count: int = HELD_OUT_IMAGES) -> float:
    """Return the model's mean intersection over union on held-out images, run by onnxruntime.

    Args:
        model: A model with the demo model's input and output.
        count: Number of held-out images.
    """
    import onnxruntime  # noqa: PLC0415 - half a second that --help need not pay

    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    batch = held_out(count)
    predicted = [
        to_labels(np.asarray(session.run([OUTPUT_NAME], {INPUT_NAME: batch.images[row : row + 1]})[0]))
        for row in range(count)
    ]
    return mean_iou(np.concatenate(predicted), batch.labels, len(CLASSES))


def finished_model(parameters: Mapping[str, Folded], steps: int, seed: int) -> onnx.ModelProto:
    """Return the model with its origin and its accuracy in the metadata.

    Args:
        parameters: Trained parameters by layer name.
        steps: Training steps taken.
        seed: Seed of the training.
    """
    miou = evaluate(write_onnx(parameters, {}))
    metadata = {
        "training_script": "demo/train.py",
        "training_seed": str(seed),
        "training_steps": str(steps),
        "channel_spread": str(CHANNEL_SPREAD),
        "classes": ",".join(CLASSES),
        "miou_held_out": f"{miou:.4f}",
        "held_out_images": str(HELD_OUT_IMAGES),
    }
    return write_onnx(parameters, metadata)


@click.command(epilog="Example: python -m demo.train --output demo/shapes.onnx")
@click.option("--output", type=click.Path(path_type=Path), default=Path(__file__).with_name("shapes.onnx"))
@click.option("--steps", default=2000, show_default=True, help="Batches of 10 images.")
@click.option("--seed", default=1, show_default=True, help="Seed of weights and training images.")
@click.option("--threads", default=2, show_default=True, help="Threads of torch; another number, other rounding.")
def main(output: Path, steps: int, seed: int, threads: int) -> None:
    """Train the demo model on synthetic shapes and write it as ONNX."""
    torch.set_num_threads(threads)
    parameters = spread_channels(fold(train(steps, seed)), CHANNEL_SPREAD, seed)
    model = finished_model(parameters, steps, seed)
    onnx.save(model, str(output))
    facts = {entry.key: entry.value for entry in model.metadata_props}
    click.echo(f"{output}: {output.stat().st_size / 1e6:.2f} MB, mIoU {facts['miou_held_out']} on held-out images")


if __name__ == "__main__":
    main()
