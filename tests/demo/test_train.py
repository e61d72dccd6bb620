"""The training script: seeded, and exporting what it trained. Skipped without the [torch] extra."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest

from demo.shapes import CLASSES, held_out

torch = pytest.importorskip("torch")


def test_the_onnx_file_computes_what_the_module_does() -> None:
    from demo.network import fold, make_module, write_onnx

    torch.manual_seed(0)
    network = make_module()
    image = held_out(1).images
    # One pass in training mode moves the running statistics, so that folding has something to fold.
    network.train()(torch.from_numpy(image))
    network.eval()
    with torch.no_grad():
        expected = network(torch.from_numpy(image)).numpy()
    model = write_onnx(fold(network), {"origin": "test"})
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(None, {"image": image})[0], expected, atol=1e-4)
    assert session.get_modelmeta().custom_metadata_map == {"origin": "test"}


def test_the_same_seed_trains_the_same_weights() -> None:
    from demo.network import fold
    from demo.train import train

    first, second, other = (fold(train(steps=2, seed=seed)) for seed in (1, 1, 2))
    assert len(first["decoder/classify"].bias) == len(CLASSES)
    for name, parameters in first.items():
        np.testing.assert_array_equal(parameters.weight, second[name].weight)
        np.testing.assert_array_equal(parameters.bias, second[name].bias)
    assert not np.array_equal(first["encoder/stem"].weight, other["encoder/stem"].weight)
