"""A transformer encoder of BERT-base's size over float embeddings.

Owns this one topology; layers come from `builder`. The token embedding lookup is left to the caller, so the input is
float and the graph needs no integer tensors besides its static shapes.

References:
    [1] A. Vaswani et al., Attention Is All You Need, NeurIPS 2017, section 3.
    [2] J. Devlin et al., BERT: Pre-training of Deep Bidirectional Transformers, NAACL 2019, section 3 (BERT-base).
    [3] D. Hendrycks, K. Gimpel, Gaussian Error Linear Units, 2016.
"""

from __future__ import annotations

import numpy as np
import onnx

from bench.zoo.builder import GraphBuilder, Value

__all__ = ["build_transformer_encoder"]

_LAYERS = 12
_HEADS = 12
_HEAD_FEATURES = 64
_FEED_FORWARD_FACTOR = 4


def build_transformer_encoder(seed: int, scale: float, size: int) -> onnx.ModelProto:
    """Build the encoder: input `embeddings` (1, size, features), outputs `hidden` (same shape) and `pooled`.

    Args:
        seed: Seed of the weights.
        scale: Multiplier of layers and heads; 1 gives 12 layers of 12 heads, 768 features, 85.6 million weights.
        size: Length of the sequence. [token]
    """
    layers = max(1, round(_LAYERS * scale))
    heads = max(1, round(_HEADS * scale))
    features = heads * _HEAD_FEATURES
    builder = GraphBuilder("transformer_encoder", seed)
    embeddings = builder.input("embeddings", (1, size, features))
    positions = builder.constant("positions", builder.random("positions", (1, size, features), 0.1))
    placed = builder.node("Add", "embed/add", [embeddings, positions], embeddings.shape)
    value = builder.layer_norm("embed/norm", placed)
    for layer in range(1, layers + 1):
        attended = _attention(builder, f"layer{layer}/attention", value, heads)
        value = builder.layer_norm(
            f"layer{layer}/attention/norm", builder.add(f"layer{layer}/attention/add", attended, value)
        )
        fed = _feed_forward(builder, f"layer{layer}/feed_forward", value)
        value = builder.layer_norm(
            f"layer{layer}/feed_forward/norm", builder.add(f"layer{layer}/feed_forward/add", fed, value)
        )
    first = builder.constant("pool/first", np.array(0, np.int64))
    token = builder.node("Gather", "pool/gather", [value, first], (1, features), value.variance, axis=1)
    dense = builder.linear("pool/dense", token, features)
    pooled = builder.node("Tanh", "pool/tanh", [dense], dense.shape)
    return builder.finish({"hidden": value, "pooled": pooled})


def _attention(builder: GraphBuilder, name: str, value: Value, heads: int) -> Value:
    """Scaled dot-product attention with `heads` heads and an output projection [1, section 3.2]."""
    _, length, features = value.shape
    per_head = features // heads

    def head_view(role: str, axes: tuple[int, ...]) -> Value:
        projected = builder.linear(f"{name}/{role}", value, features)
        split = builder.reshape(f"{name}/{role}/heads", projected, (1, length, heads, per_head))
        return builder.transpose(f"{name}/{role}/transpose", split, axes)

    query = head_view("query", (0, 2, 1, 3))
    key = head_view("key", (0, 2, 3, 1))
    values = head_view("value", (0, 2, 1, 3))
    square = (1, heads, length, length)
    scores = builder.node("MatMul", f"{name}/scores", [query, key], square)
    root = builder.constant(f"{name}/root", np.array(np.sqrt(per_head), np.float32))
    scaled = builder.node("Div", f"{name}/scale", [scores, root], square)
    weights = builder.node("Softmax", f"{name}/softmax", [scaled], square, axis=-1)
    mixed = builder.node("MatMul", f"{name}/mix", [weights, values], values.shape, variance=0.1)
    joined = builder.transpose(f"{name}/join", mixed, (0, 2, 1, 3))
    flat = builder.reshape(f"{name}/flatten", joined, (1, length, features))
    return builder.linear(f"{name}/output", flat, features)


def _feed_forward(builder: GraphBuilder, name: str, value: Value) -> Value:
    """Two dense layers with a GELU between them [1, section 3.3; 3]."""
    features = value.shape[-1]
    hidden = builder.gelu(f"{name}/gelu", builder.linear(f"{name}/expand", value, features * _FEED_FORWARD_FACTOR))
    return builder.linear(f"{name}/project", hidden, features)
