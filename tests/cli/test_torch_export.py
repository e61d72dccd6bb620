"""`splitctl model add NAME model.pt2`: torch.export archives. Without the [torch] extra, only the sentence that says so."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from edgesplit.errors import InvalidInput, InvalidModel
from edgesplit.operations.model_operations import AddModel
from edgesplit_controller.cli.model_files.torch_export import export_archive
from tests.cli.conftest import Run
from tests.cli.fakes import FakeController
from tests.cli.test_model_add import ADDED


def silent(_text: str, _fraction: float | None) -> None:
    """Progress nobody reads."""


@pytest.mark.parametrize("missing", ["torch", "onnxscript"])
def test_without_the_extra_one_sentence_names_it(
    missing: str, run: Run, controller: FakeController, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", sys)  # there, as far as an import can tell
    monkeypatch.setitem(sys.modules, missing, None)
    file = tmp_path / "net.pt2"
    file.write_bytes(b"an archive")
    with pytest.raises(InvalidInput, match=rf"{missing} is not installed .* pip install 'edgesplit\[torch\]'"):
        export_archive(file, tmp_path, silent)
    told = run("model", "add", "net", file, "--json")
    assert (told.status, controller.operations) == (1, [])
    assert "edgesplit[torch]" in told.document["error"]["message"]


@pytest.mark.parametrize("name", ["net.pt", "net.pth", "net.safetensors"])
def test_files_of_weights_are_told_from_programs(name: str, run: Run, broker: str, tmp_path: Path) -> None:
    assert broker
    (tmp_path / name).write_bytes(b"weights")
    told = run("model", "add", "net", tmp_path / name)
    assert told.status == 1
    assert "no program: write one with torch.export.save" in told.err


class TestWithTorch:
    """Skipped without torch and onnxscript."""

    @pytest.fixture
    def torch(self) -> Any:
        pytest.importorskip("onnxscript")
        return pytest.importorskip("torch")

    @pytest.fixture
    def network(self, torch: Any) -> Any:
        class Network(torch.nn.Module):  # type: ignore[misc]  # a class of whatever torch is there
            def __init__(self) -> None:
                super().__init__()
                self.stem = torch.nn.Conv2d(3, 8, 3, padding=1)
                self.norm = torch.nn.BatchNorm2d(8)
                self.drop = torch.nn.Dropout(0.5)
                self.classify = torch.nn.Linear(8 * 8 * 8, 10)
                self.locate = torch.nn.Linear(8 * 8 * 8, 4)

            def forward(self, image: Any, scale: Any) -> Any:
                features = self.drop(torch.relu(self.norm(self.stem(image)))).flatten(1)
                return {"logits": self.classify(features) * scale, "boxes": self.locate(features), "image": image}

        torch.manual_seed(0)
        return Network().eval()

    @pytest.fixture
    def save(self, torch: Any, tmp_path: Path) -> Callable[..., Path]:
        def save_archive(module: Any, *example: Any, **options: Any) -> Path:
            file = tmp_path / "net.pt2"
            torch.export.save(torch.export.export(module, example, **options), file)
            return file

        return save_archive

    def test_names_parameters_and_outputs_are_the_modules(
        self, torch: Any, network: Any, save: Callable[..., Path], tmp_path: Path
    ) -> None:
        image, scale = torch.rand(1, 3, 8, 8), torch.ones(1)
        exported = export_archive(save(network, image, scale), tmp_path, silent)
        assert exported.text.startswith("the outputs of its ONNX form differ from those of net.pt2 by at most ")
        model = onnx.load(exported.file)
        assert [value.name for value in model.graph.input] == ["image", "scale"]
        assert [value.name for value in model.graph.output] == ["logits", "boxes", "image_output"]
        assert {"classify.weight", "locate.bias"} <= {weight.name for weight in model.graph.initializer}
        session = onnxruntime.InferenceSession(exported.file, providers=["CPUExecutionProvider"])
        with torch.no_grad():
            other = torch.rand(1, 3, 8, 8)
            expected = network(other, scale)
        found = session.run(["logits", "boxes"], {"image": other.numpy(), "scale": scale.numpy()})
        for name, value in zip(("logits", "boxes"), found, strict=True):
            np.testing.assert_allclose(value, expected[name].numpy(), atol=1e-5)

    def test_an_archive_is_added_like_an_onnx_file_and_nothing_but_the_document_is_printed(
        self, torch: Any, network: Any, save: Callable[..., Path], run: Run, controller: FakeController
    ) -> None:
        controller.answers[AddModel] = lambda _operation: ADDED
        told = run("model", "add", "net", save(network, torch.rand(1, 3, 8, 8), torch.ones(1)), "--json")
        assert told.status == 0, told.err
        assert told.document["name"] == ADDED.name
        assert "differ from those of net.pt2 by at most" in told.err
        (operation,) = controller.operations
        assert isinstance(operation, AddModel)
        model = onnx.load_from_string(controller.uploads[operation.file])
        assert [value.name for value in model.graph.input] == ["image", "scale"]

    def test_what_cannot_be_served_is_refused_in_one_sentence(
        self, torch: Any, network: Any, save: Callable[..., Path], tmp_path: Path
    ) -> None:
        image, scale = torch.rand(2, 3, 8, 8), torch.ones(1)
        with pytest.raises(InvalidModel, match=r"input image of shape \(s\d+, 3, 8, 8\) is open in dimension 0"):
            shapes = {"image": {0: torch.export.Dim("batch", min=2, max=8)}, "scale": None}
            export_archive(save(network, image, scale, dynamic_shapes=shapes), tmp_path, silent)
        network.train()
        with pytest.raises(InvalidModel, match=r"training mode .* call module.eval\(\)"):
            export_archive(save(network, image, scale), tmp_path, silent)
        network.eval()
        with pytest.raises(InvalidModel, match="is NaN on its example input"):
            export_archive(save(network, image, torch.full((1,), float("nan"))), tmp_path, silent)
        broken = tmp_path / "broken.pt2"
        broken.write_bytes(b"no archive")
        with pytest.raises(InvalidModel, match=r"is no torch\.export archive"):
            export_archive(broken, tmp_path, silent)

    def test_an_operator_the_exporter_does_not_know_is_named(
        self, torch: Any, save: Callable[..., Path], tmp_path: Path
    ) -> None:
        library = torch.library.Library("edgesplit_test", "DEF")
        library.define("odd(Tensor x) -> Tensor")
        library.impl("odd", lambda x: x + 1, "CompositeExplicitAutograd")
        torch.library.register_fake("edgesplit_test::odd", torch.empty_like, lib=library)

        class Odd(torch.nn.Module):  # type: ignore[misc]  # as above
            def forward(self, x: Any) -> Any:
                return torch.ops.edgesplit_test.odd(x)

        with pytest.raises(InvalidModel, match=r"cannot export .*: .*edgesplit_test"):
            export_archive(save(Odd(), torch.rand(2)), tmp_path, silent)

    def test_a_form_that_computes_something_else_is_refused(
        self, torch: Any, save: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        file = save(torch.nn.Linear(3, 2).eval(), torch.ones(1, 3))
        other = torch.export.export(torch.nn.Linear(3, 2).eval(), (torch.ones(1, 3),))
        monkeypatch.setattr(
            torch.onnx, "export", lambda _program, real=torch.onnx.export, **options: real(other, **options)
        )
        with pytest.raises(InvalidModel, match="its ONNX form differs by"):
            export_archive(file, tmp_path, silent)
