"""Writing an ONNX graph by hand: the layers that the zoo's topologies are made of.

Owns nodes, seeded weights, shapes and the bookkeeping that keeps activations in a sane range. Its one rule: a value
carries its shape and an estimate of its variance, and every layer with weights scales them so that its output's
variance is near 1; so a network of any depth gives finite outputs that still depend on the input. No topology and
no onnxruntime in here.

References:
    [1] K. He et al., Delving Deep into Rectifiers, ICCV 2015 (the scaling of the weights).
    [2] A. Brock et al., Characterizing Signal Propagation to Close the Performance Gap in Unnormalized ResNets,
        ICLR 2021 (filters of mean zero, variances followed through the graph).
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

__all__ = ["GraphBuilder", "Value", "scaled_channels"]

_OPSET = 17
_IR_VERSION = 8

# Variance of f(x) for x of mean 0 and variance 1, by numerical integration.
_VARIANCE_AFTER = {"Relu": 0.341, "Clip": 0.341, "SiLU": 0.313, "Gelu": 0.332}
_VARIANCE_FLOOR = 1e-6

_Floats = NDArray[np.float32]
Attribute = int | float | str | Sequence[int]


@dataclass(frozen=True, slots=True)
class Value:
    """A tensor of the graph under construction.

    Attributes:
        name: Its name in the graph.
        shape: Its static shape.
        variance: Estimated variance of its elements around their channel's mean.
    """

    name: str
    shape: tuple[int, ...]
    variance: float = 1.0

    @property
    def channels(self) -> int:
        """Size of the second axis."""
        return self.shape[1]


def scaled_channels(channels: int, scale: float) -> int:
    """Return `channels` times a width multiplier, rounded to a multiple of 8 and never below 8.

    References:
        [1] M. Sandler et al., MobileNetV2: Inverted Residuals and Linear Bottlenecks, CVPR 2018.
    """
    return max(8, round(channels * scale / 8) * 8)


class GraphBuilder:
    """Collects nodes and initializers; `finish` returns the checked model.

    Each weight is drawn from a generator seeded by (seed, its name), so inserting a layer leaves the others alone.
    """

    def __init__(self, name: str, seed: int) -> None:
        self._name = name
        self._seed = seed
        self._nodes: list[onnx.NodeProto] = []
        self._initializers: dict[str, onnx.TensorProto] = {}
        self._inputs: list[Value] = []

    def input(self, name: str, shape: tuple[int, ...]) -> Value:
        """Declare a float32 input; its samples are expected in [0, 1]."""
        value = Value(name, shape, variance=1 / 12)
        self._inputs.append(value)
        return value

    def node(
        self,
        operator: str,
        name: str,
        inputs: Sequence[Value | str],
        shape: tuple[int, ...],
        variance: float = 1.0,
        **attributes: Attribute,
    ) -> Value:
        """Add a node with one output, which carries the node's name.

        Args:
            operator: ONNX operator type.
            name: Node and output name.
            inputs: Values, names of constants, or "" for an absent optional input.
            shape: The output's shape.
            variance: The output's estimated variance.
            **attributes: The operator's attributes.
        """
        return self.nodes(operator, name, inputs, {name: shape}, variance, **attributes)[0]

    def nodes(
        self,
        operator: str,
        name: str,
        inputs: Sequence[Value | str],
        outputs: Mapping[str, tuple[int, ...]],
        variance: float = 1.0,
        **attributes: Attribute,
    ) -> list[Value]:
        """Add a node with several outputs, given as name -> shape."""
        names = [value if isinstance(value, str) else value.name for value in inputs]
        node = helper.make_node(operator, names, list(outputs), name)
        node.attribute.extend(helper.make_attribute(key, attribute) for key, attribute in attributes.items())
        self._nodes.append(node)
        return [Value(output, shape, variance) for output, shape in outputs.items()]

    def constant(self, name: str, array: NDArray[np.float32] | NDArray[np.int64]) -> str:
        """Add an initializer and return its name."""
        self._initializers[name] = numpy_helper.from_array(array, name)
        return name

    def random(self, name: str, shape: tuple[int, ...], sigma: float) -> _Floats:
        """Draw normal values of standard deviation `sigma`, the same for the same seed, name and shape."""
        generator = np.random.default_rng([self._seed, zlib.crc32(name.encode())])
        return generator.standard_normal(shape, np.float32) * np.float32(sigma)

    def conv(
        self,
        name: str,
        value: Value,
        channels: int,
        kernel: int = 1,
        *,
        stride: int = 1,
        groups: int = 1,
        biased: bool = True,
    ) -> Value:
        """Add a convolution with "same" padding; output shape (batch, channels, height / stride, width / stride)."""
        batch, channels_in, height, width = value.shape
        fan_in = channels_in // groups * kernel**2
        weight = self.random(f"{name}/weight", (channels, channels_in // groups, kernel, kernel), 1.0)
        if channels_in > groups:
            weight -= weight.mean(axis=(1, 2, 3), keepdims=True)
        weight *= np.float32(1 / np.sqrt(fan_in * max(value.variance, _VARIANCE_FLOOR)))
        inputs: list[Value | str] = [value, self.constant(f"{name}/weight", weight)]
        if biased:
            inputs.append(self.constant(f"{name}/bias", self.random(f"{name}/bias", (channels,), 0.1)))
        padding = (kernel - 1) // 2
        spatial = ((side + 2 * padding - kernel) // stride + 1 for side in (height, width))
        return self.node(
            "Conv",
            name,
            inputs,
            (batch, channels, *spatial),
            kernel_shape=[kernel, kernel],
            strides=[stride, stride],
            pads=[padding] * 4,
            group=groups,
        )

    def conv_transpose(self, name: str, value: Value, channels: int, factor: int) -> Value:
        """Add a transposed convolution with kernel = stride = `factor`: learned upsampling without overlap."""
        batch, channels_in, height, width = value.shape
        sigma = 1 / np.sqrt(channels_in * max(value.variance, _VARIANCE_FLOOR))
        weight = self.random(f"{name}/weight", (channels_in, channels, factor, factor), float(sigma))
        weight -= weight.mean(axis=0, keepdims=True)
        bias = self.constant(f"{name}/bias", self.random(f"{name}/bias", (channels,), 0.1))
        return self.node(
            "ConvTranspose",
            name,
            [value, self.constant(f"{name}/weight", weight), bias],
            (batch, channels, height * factor, width * factor),
            kernel_shape=[factor, factor],
            strides=[factor, factor],
        )

    def batch_norm(self, name: str, value: Value) -> Value:
        """Add a batch normalisation in inference form, near the identity."""
        channels = (value.channels,)
        gamma = self.constant(f"{name}/gamma", 1 + self.random(f"{name}/gamma", channels, 0.1))
        beta = self.constant(f"{name}/beta", self.random(f"{name}/beta", channels, 0.1))
        mean = self.constant(f"{name}/mean", self.random(f"{name}/mean", channels, 0.1))
        variance = self.constant(f"{name}/variance", np.full(channels, value.variance, np.float32))
        inputs: list[Value | str] = [value, gamma, beta, mean, variance]
        return self.node("BatchNormalization", name, inputs, value.shape, epsilon=1e-5)

    def activation(self, operator: str, name: str, value: Value) -> Value:
        """Add a Relu or a Clip to [0, 6] (ReLU6)."""
        inputs: list[Value | str] = [value]
        if operator == "Clip":
            inputs += [
                self.constant("relu6/low", np.array(0, np.float32)),
                self.constant("relu6/high", np.array(6, np.float32)),
            ]
        return self.node(operator, name, inputs, value.shape, value.variance * _VARIANCE_AFTER[operator])

    def silu(self, name: str, value: Value) -> Value:
        """Add x * sigmoid(x) as exporters write it: Sigmoid and Mul."""
        gate = self.node("Sigmoid", f"{name}/sigmoid", [value], value.shape)
        variance = value.variance * _VARIANCE_AFTER["SiLU"]
        return self.node("Mul", f"{name}/mul", [value, gate], value.shape, variance)

    def gelu(self, name: str, value: Value) -> Value:
        """Add x * (1 + erf(x / sqrt 2)) / 2 as five operators, opset 17 having no Gelu."""
        shape = value.shape
        root = self.constant("gelu/root_of_two", np.array(np.sqrt(2), np.float32))
        one = self.constant("gelu/one", np.array(1, np.float32))
        half = self.constant("gelu/half", np.array(0.5, np.float32))
        scaled = self.node("Div", f"{name}/div", [value, root], shape)
        shifted = self.node("Add", f"{name}/add", [self.node("Erf", f"{name}/erf", [scaled], shape), one], shape)
        product = self.node("Mul", f"{name}/mul", [value, shifted], shape)
        variance = value.variance * _VARIANCE_AFTER["Gelu"]
        return self.node("Mul", f"{name}/half", [product, half], shape, variance)

    def add(self, name: str, left: Value, right: Value) -> Value:
        """Add the sum of two values of one shape."""
        return self.node("Add", name, [left, right], left.shape, left.variance + right.variance)

    def concat(self, name: str, values: Sequence[Value], axis: int = 1) -> Value:
        """Add the concatenation of values along `axis`."""
        sizes = [value.shape[axis] for value in values]
        shape = (*values[0].shape[:axis], sum(sizes), *values[0].shape[axis:][1:])
        weighted = sum(value.variance * size for value, size in zip(values, sizes, strict=True))
        return self.node("Concat", name, values, shape, weighted / sum(sizes), axis=axis)

    def split(self, name: str, value: Value, sizes: Sequence[int], axis: int = 1) -> list[Value]:
        """Add a Split of `axis` into parts of the given sizes."""
        lengths = self.constant(f"{name}/sizes", np.array(sizes, np.int64))
        shapes = {
            f"{name}/{part}": (*value.shape[:axis], size, *value.shape[axis:][1:]) for part, size in enumerate(sizes)
        }
        return self.nodes("Split", name, [value, lengths], shapes, value.variance, axis=axis)

    def reshape(self, name: str, value: Value, shape: tuple[int, ...]) -> Value:
        """Add a Reshape to a static shape with as many elements."""
        if prod(shape) != prod(value.shape):
            raise ValueError(f"{name}: a tensor of shape {value.shape} cannot take shape {shape}")
        target = self.constant(f"{name}/shape", np.array(shape, np.int64))
        return self.node("Reshape", name, [value, target], shape, value.variance)

    def transpose(self, name: str, value: Value, axes: Sequence[int]) -> Value:
        """Add a Transpose."""
        shape = tuple(value.shape[axis] for axis in axes)
        return self.node("Transpose", name, [value], shape, value.variance, perm=list(axes))

    def max_pool(self, name: str, value: Value, kernel: int, stride: int = 1) -> Value:
        """Add a max pooling with "same" padding."""
        padding = kernel // 2
        spatial = ((side + 2 * padding - kernel) // stride + 1 for side in value.shape[2:])
        shape = (*value.shape[:2], *spatial)
        sides, pads = [kernel, kernel], [padding] * 4
        strides = [stride, stride]
        return self.node(
            "MaxPool", name, [value], shape, value.variance, kernel_shape=sides, strides=strides, pads=pads
        )

    def linear(self, name: str, value: Value, features: int) -> Value:
        """Add MatMul and Add over the last axis, as exporters write a dense layer."""
        features_in = value.shape[-1]
        sigma = 1 / np.sqrt(features_in * max(value.variance, _VARIANCE_FLOOR))
        weight = self.random(f"{name}/weight", (features_in, features), float(sigma))
        weight -= weight.mean(axis=0, keepdims=True)
        shape = (*value.shape[:-1], features)
        product = self.node("MatMul", f"{name}/matmul", [value, self.constant(f"{name}/weight", weight)], shape)
        bias = self.constant(f"{name}/bias", self.random(f"{name}/bias", (features,), 0.1))
        return self.node("Add", f"{name}/add", [product, bias], shape)

    def layer_norm(self, name: str, value: Value) -> Value:
        """Add a LayerNormalization over the last axis."""
        features = (value.shape[-1],)
        gamma = self.constant(f"{name}/gamma", 1 + self.random(f"{name}/gamma", features, 0.1))
        beta = self.constant(f"{name}/beta", self.random(f"{name}/beta", features, 0.1))
        return self.node("LayerNormalization", name, [value, gamma, beta], value.shape, axis=-1, epsilon=1e-12)

    def classifier(self, name: str, value: Value, classes: int) -> Value:
        """Add global average pooling, Flatten and Gemm: features (batch, channels, h, w) to (batch, classes)."""
        batch, channels = value.shape[:2]
        # Averaging shrinks the variance, by less than the number of pixels because neighbours are alike.
        variance = value.variance / np.sqrt(prod(value.shape[2:]))
        pooled = self.node("GlobalAveragePool", f"{name}/pool", [value], (batch, channels, 1, 1), float(variance))
        flat = self.node("Flatten", f"{name}/flatten", [pooled], (batch, channels), pooled.variance, axis=1)
        sigma = 1 / np.sqrt(channels * max(flat.variance, _VARIANCE_FLOOR))
        weight = self.random(f"{name}/weight", (classes, channels), float(sigma))
        weight -= weight.mean(axis=1, keepdims=True)
        inputs: list[Value | str] = [
            flat,
            self.constant(f"{name}/weight", weight),
            self.constant(f"{name}/bias", self.random(f"{name}/bias", (classes,), 0.1)),
        ]
        return self.node("Gemm", f"{name}/gemm", inputs, (batch, classes), transB=1)

    def _rename(self, value: Value, name: str) -> Value:
        """Give a value another name, without a node; how outputs get their public names."""
        for node in self._nodes:
            for field in (node.input, node.output):
                for index, tensor in enumerate(field):
                    if tensor == value.name:
                        field[index] = name
        return replace(value, name=name)

    def finish(self, outputs: Mapping[str, Value]) -> onnx.ModelProto:
        """Return the model with the given values as its outputs, under the given names.

        Raises:
            onnx.checker.ValidationError: The graph is not valid; a fault of the topology.
        """
        renamed = [self._rename(value, name) for name, value in outputs.items()]
        graph = helper.make_graph(
            self._nodes,
            self._name,
            [helper.make_tensor_value_info(v.name, TensorProto.FLOAT, v.shape) for v in self._inputs],
            [helper.make_tensor_value_info(v.name, TensorProto.FLOAT, v.shape) for v in renamed],
            list(self._initializers.values()),
        )
        opsets = [helper.make_opsetid("", _OPSET)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION, producer_name="edgesplit-zoo")
        onnx.checker.check_model(model)
        return model
