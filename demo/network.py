"""The demo model's architecture: one table, read by the trainer and by the ONNX writer.

Owns the layers of the demo model and how they become a torch module and an ONNX graph. Its one rule: both are made
from `LAYERS`, so what is trained is what is exported. No data, no training; torch is imported only to train.

The layers follow three ideas: parallel branches of growing dilation see several scales at once [1], a thin skip
brings the edges back to the decoder [2], and everything that crosses between encoder, context and decoder is
small beside the image, so that a split has somewhere to cut.

References:
    [1] L.-C. Chen et al., Rethinking Atrous Convolution for Semantic Image Segmentation, 2017.
    [2] L.-C. Chen et al., Encoder-Decoder with Atrous Separable Convolution for Semantic Image Segmentation, 2018.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from demo.shapes import CLASSES, IMAGE_SIZE, INPUT_NAME, OUTPUT_NAME

if TYPE_CHECKING:
    import torch

__all__ = [
    "LAYERS",
    "Concat",
    "Convolution",
    "Folded",
    "Layer",
    "Upsample",
    "fold",
    "make_module",
    "spread_channels",
    "write_onnx",
]

_OPSET = 17
_IR_VERSION = 8


@dataclass(frozen=True, slots=True)
class Convolution:
    """A convolution with "same" padding, batch normalisation and, unless it is the last one, a ReLU."""

    name: str
    source: str
    channels_in: int
    channels_out: int
    kernel: int = 3
    stride: int = 1
    dilation: int = 1
    activated: bool = True

    @property
    def padding(self) -> int:
        """Pixels added on each side. [pixel]"""
        return self.dilation * (self.kernel - 1) // 2


@dataclass(frozen=True, slots=True)
class Concat:
    """Channels of several tensors, one after the other."""

    name: str
    sources: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Upsample:
    """Height and width times `factor`."""

    name: str
    source: str
    factor: int
    mode: str


Layer = Convolution | Concat | Upsample

LAYERS: tuple[Layer, ...] = (
    Convolution("encoder/stem", INPUT_NAME, 3, 24, stride=2),
    Convolution("encoder/quarter", "encoder/stem", 24, 48, stride=2),
    Convolution("encoder/skip", "encoder/quarter", 48, 4, kernel=1),
    Convolution("encoder/eighth", "encoder/quarter", 48, 96, stride=2),
    Convolution("encoder/squeeze", "encoder/eighth", 96, 24),
    Convolution("near/first", "encoder/squeeze", 24, 144, kernel=1),
    Convolution("near/second", "near/first", 144, 144),
    Convolution("middle/first", "encoder/squeeze", 24, 144),
    Convolution("middle/second", "middle/first", 144, 144, dilation=2),
    Convolution("far/first", "encoder/squeeze", 24, 144, dilation=2),
    Convolution("far/second", "far/first", 144, 144, dilation=4),
    Concat("fuse/concat", ("near/second", "middle/second", "far/second")),
    Convolution("fuse/mix", "fuse/concat", 432, 144, kernel=1),
    Convolution("fuse/refine", "fuse/mix", 144, 144),
    Convolution("fuse/narrow", "fuse/refine", 144, 64),
    Upsample("decoder/grow", "fuse/narrow", 2, "nearest"),
    Concat("decoder/concat", ("decoder/grow", "encoder/skip")),
    Convolution("decoder/sharpen", "decoder/concat", 68, 48),
    Convolution("decoder/classify", "decoder/sharpen", 48, len(CLASSES), kernel=1, activated=False),
    Upsample(OUTPUT_NAME, "decoder/classify", 4, "linear"),
)


@dataclass(frozen=True, slots=True)
class Folded:
    """A convolution's parameters with its batch normalisation folded in.

    Attributes:
        weight: Shape (channels out, channels in, kernel, kernel). [float32]
        bias: Shape (channels out,). [float32]
    """

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]


def make_module() -> torch.nn.Module:
    """Return the untrained torch module; its `folded()` gives what `write_onnx` wants."""
    import torch  # noqa: PLC0415 - only the trainer has it
    from torch import nn  # noqa: PLC0415
    from torch.nn import functional  # noqa: PLC0415

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            convolutions = [layer for layer in LAYERS if isinstance(layer, Convolution)]
            self.convolutions = nn.ModuleDict(
                {
                    layer.name: nn.Conv2d(
                        layer.channels_in,
                        layer.channels_out,
                        layer.kernel,
                        layer.stride,
                        layer.padding,
                        layer.dilation,
                        bias=not layer.activated,
                    )
                    for layer in convolutions
                }
            )
            self.norms = nn.ModuleDict(
                {layer.name: nn.BatchNorm2d(layer.channels_out) for layer in convolutions if layer.activated}
            )

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            values = {INPUT_NAME: image}
            for layer in LAYERS:
                values[layer.name] = self._apply_layer(layer, values)
            return values[OUTPUT_NAME]

        def _apply_layer(self, layer: Layer, values: Mapping[str, torch.Tensor]) -> torch.Tensor:
            if isinstance(layer, Concat):
                return torch.cat([values[name] for name in layer.sources], dim=1)
            value = values[layer.source]
            if isinstance(layer, Upsample):
                if layer.mode == "nearest":
                    return functional.interpolate(value, scale_factor=layer.factor)
                return functional.interpolate(value, scale_factor=layer.factor, mode="bilinear")
            value = self.convolutions[layer.name](value)
            return torch.relu(self.norms[layer.name](value)) if layer.activated else value

    return Network()


def fold(module: Any) -> dict[str, Folded]:
    """Return each convolution's parameters, its batch normalisation folded in.

    Args:
        module: A module of `make_module`, in evaluation mode.

    References:
        [1] B. Jacob et al., Quantization and Training of Neural Networks, CVPR 2018, section 3.2.
    """
    folded: dict[str, Folded] = {}
    for name, convolution in module.convolutions.items():
        weight = convolution.weight.detach().numpy()
        if name in module.norms:
            norm = module.norms[name]
            scale = (norm.weight / (norm.running_var + norm.eps).sqrt()).detach().numpy()
            bias = norm.bias.detach().numpy() - norm.running_mean.numpy() * scale
            weight = weight * scale[:, None, None, None]
        else:
            bias = convolution.bias.detach().numpy()
        folded[name] = Folded(np.ascontiguousarray(weight, np.float32), np.ascontiguousarray(bias, np.float32))
    return folded


def spread_channels(parameters: Mapping[str, Folded], sigma: float, seed: int) -> dict[str, Folded]:
    """Return parameters of the same function whose channels differ in range.

    Each channel in front of a ReLU is multiplied by a log-normal factor, and its consumers' weights divided by it:
    ReLU being homogeneous, the float output stays. A small network fresh from batch normalisation has channels of
    one range and loses nothing in int8. Deployed ones have ranges apart by orders of magnitude, and lose [1]; this
    is the inverse of the equalisation described there.

    Args:
        parameters: Folded parameters by layer name.
        sigma: Standard deviation of the factors' logarithm; 0 changes nothing.
        seed: Seed of the factors.

    References:
        [1] M. Nagel et al., Data-Free Quantization Through Weight Equalization and Bias Correction, ICCV 2019,
            section 4.1.
    """
    generator = np.random.default_rng([seed, len(LAYERS)])
    factors: dict[str, NDArray[np.float32]] = {INPUT_NAME: np.ones(3, np.float32)}
    spread: dict[str, Folded] = {}
    for layer in LAYERS:
        if isinstance(layer, Concat):
            factors[layer.name] = np.concatenate([factors[name] for name in layer.sources])
        elif isinstance(layer, Upsample):
            factors[layer.name] = factors[layer.source]
        else:
            drawn = np.exp(sigma * generator.standard_normal(layer.channels_out)).astype(np.float32)
            factor = drawn if layer.activated else np.ones_like(drawn)
            weight = parameters[layer.name].weight / factors[layer.source][None, :, None, None]
            spread[layer.name] = Folded(weight * factor[:, None, None, None], parameters[layer.name].bias * factor)
            factors[layer.name] = factor
    return spread


def write_onnx(parameters: Mapping[str, Folded], metadata: Mapping[str, str]) -> onnx.ModelProto:
    """Return the model as ONNX: a Conv and a Relu node per convolution, named after the layer.

    Args:
        parameters: Folded parameters by layer name.
        metadata: Facts to keep with the model, such as its accuracy.
    """
    nodes: list[onnx.NodeProto] = []
    initializers: list[onnx.TensorProto] = []
    for layer in LAYERS:
        if isinstance(layer, Concat):
            nodes.append(helper.make_node("Concat", layer.sources, [layer.name], layer.name, axis=1))
        elif isinstance(layer, Upsample):
            node, scales = _upsample_node(layer)
            nodes.append(node)
            initializers.append(scales)
        else:
            nodes.extend(_convolution_nodes(layer))
            folded = parameters[layer.name]
            initializers.append(numpy_helper.from_array(folded.weight, f"{layer.name}/weight"))
            initializers.append(numpy_helper.from_array(folded.bias, f"{layer.name}/bias"))
    image = helper.make_tensor_value_info(INPUT_NAME, TensorProto.FLOAT, [1, 3, IMAGE_SIZE, IMAGE_SIZE])
    logits = helper.make_tensor_value_info(OUTPUT_NAME, TensorProto.FLOAT, [1, len(CLASSES), IMAGE_SIZE, IMAGE_SIZE])
    graph = helper.make_graph(nodes, "shapes", [image], [logits], initializers)
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION, producer_name="edgesplit"
    )
    helper.set_model_props(model, dict(metadata))
    model = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    onnx.checker.check_model(model, full_check=True)
    return model


def _convolution_nodes(layer: Convolution) -> list[onnx.NodeProto]:
    """Return Conv, then Relu if the layer has one; the last one's output carries the layer's name."""
    conv_name = f"{layer.name}/conv"
    conv_output = conv_name if layer.activated else layer.name
    conv = helper.make_node(
        "Conv",
        [layer.source, f"{layer.name}/weight", f"{layer.name}/bias"],
        [conv_output],
        conv_name,
        kernel_shape=[layer.kernel, layer.kernel],
        strides=[layer.stride, layer.stride],
        dilations=[layer.dilation, layer.dilation],
        pads=[layer.padding] * 4,
    )
    if not layer.activated:
        return [conv]
    return [conv, helper.make_node("Relu", [conv_output], [layer.name], f"{layer.name}/relu")]


def _upsample_node(layer: Upsample) -> tuple[onnx.NodeProto, onnx.TensorProto]:
    """Return the Resize node, whose coordinates are those of torch's interpolate, and its scales."""
    nearest = layer.mode == "nearest"
    scales = numpy_helper.from_array(np.array([1, 1, layer.factor, layer.factor], np.float32), f"{layer.name}/scales")
    attributes: dict[str, str] = {
        "mode": layer.mode,
        "coordinate_transformation_mode": "asymmetric" if nearest else "half_pixel",
    }
    if nearest:
        attributes["nearest_mode"] = "floor"
    node = helper.make_node(
        "Resize", [layer.source, "", scales.name], [layer.name], f"{layer.name}/resize", **attributes
    )
    return node, scales
