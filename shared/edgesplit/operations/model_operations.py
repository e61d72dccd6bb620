"""Operations on models (adding, profiling, listing, removing) and their documents.

Owns: these operations and their documents. Its rule: keys may be added, never renamed. Not here: serving a model
(`plan_operations.py`), what is wanted of it (`goal_operations.py`).
"""

from __future__ import annotations

from typing import Literal

import msgspec

from edgesplit.control.figure_messages import AskedSizes
from edgesplit.operations.exchange import TaggedOperation
from edgesplit.planning.goals import Goals
from edgesplit.wire.tensor_spec import TensorSpec

__all__ = [
    "AddModel",
    "CodecsDocument",
    "CompletionRow",
    "ListModels",
    "ModelAddedDocument",
    "ModelDocument",
    "ModelOperation",
    "NoiseModelDocument",
    "PlanningShapeRow",
    "ProfileModel",
    "ProfiledRow",
    "ProfilingRow",
    "RemoveModel",
    "ShowModel",
    "TighteningDocument",
]


class AddModel(TaggedOperation, frozen=True, kw_only=True, tag="add-model"):
    """Import an uploaded model and have every online node time it; int8, noise and codecs follow in the background.

    The files were uploaded before with PUT to `{artifacts}/uploads/{sha256}`. Answered with `ModelAddedDocument`,
    after progress replies.

    Attributes:
        file: Digest of the .onnx file.
        external: External data location, as the file names it, to digest.
        calibration: Digest of the .npz, or None.
        metric: What noise is read as, module:function that the controller allows; empty for rho.
        wait: `ready`: answered once the model can be deployed in float; `all`: once noise, codecs and all profiles are in.
        shapes: Input to the shapes to plan for, of which the first of each input belong together, then the second of each,
            and so on; an input with one shape has it in all. Inputs that are not named, or none: see docs/models.md.
        fixed: The sizes planned for are set for good: requests of another size are refused.
    """

    name: str
    file: str
    external: dict[str, str] = msgspec.field(default_factory=dict[str, str])
    calibration: str | None = None
    max_quantizable: int = 12
    exclude: tuple[str, ...] = ()
    replace: bool = False
    metric: str = ""
    wait: Literal["ready", "all"] = "ready"
    shapes: dict[str, tuple[tuple[int, ...], ...]] = msgspec.field(
        default_factory=dict[str, tuple[tuple[int, ...], ...]]
    )
    fixed: bool = False


class NoiseModelDocument(msgspec.Struct, frozen=True, kw_only=True):
    """How well the noise regressor fits. R2 are None without candidates.

    Attributes:
        degree: Degree of the interaction polynomial.
        r2_train: Coefficient of determination on what it was fitted to. [1]
        r2_test: The same on patterns held out. [1]
        seconds: Time the modelling took. [s]
        patterns: How many sets of quantized operators were measured.
        full_noise: Measured noise with every candidate quantized. [1]
        margin: What was added, so that measured noise stays below the prediction for about 99 % of patterns: to the
            intercept, or where a curve leads from the polynomial to noise on average. [1]
        metric: What noise is: `rho`, or the user's module:function.
        least_noise: The least noise predicted for any operators in int8: no bound below it admits int8. [1]
        form: `polynomial`, or the scale on which the polynomial adds up, from which a curve leads to noise.
        samples: Inputs that each set was measured on.
        sampling: What predictions were multiplied by, since these inputs leave uncertain how noisy others are (99 %,
            one-sided, of the mean over all). [1]
    """

    degree: int
    r2_train: float | None
    r2_test: float | None
    seconds: float
    patterns: int = 0
    full_noise: float = 0.0
    margin: float = 0.0
    metric: str = "rho"
    least_noise: float = 0.0
    form: str = "polynomial"
    samples: int = 0
    sampling: float = 1.0


class CodecsDocument(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured of wire codecs when a model was added.

    Attributes:
        tensors: How many could be coded.
        measured: Those whose noise was measured on every lossy codec; the others are only offered lossless ones.
        samples: How many each was measured on.
        margin: What all noise was multiplied by. [1]
        joint: Largest noise of tensors coded together as a share of the sum of their figures. [1]
        seconds: Time it took. [s]
    """

    tensors: int
    measured: int
    samples: int
    margin: float
    joint: float
    seconds: float


class CompletionRow(msgspec.Struct, frozen=True, kw_only=True):
    """How far the second stage of a model's intake is: calibration, noise, codecs, int8.

    Attributes:
        what: Is being done.
        fraction: Done of it all, in the present try. [1]
        left_s: Until it is done, as it went so far; None where that says nothing yet. [s]
        since_s: Since it was begun, waiting included. [s]
        reason: Why it failed, where it is tried again; else empty.
        attempts: How many tries failed so far.
        next_try_s: Until the next one; None where one is under way or due. [s]
    """

    what: str
    fraction: float
    left_s: float | None
    since_s: float
    reason: str = ""
    attempts: int = 0
    next_try_s: float | None = None


class ProfilingRow(msgspec.Struct, frozen=True, kw_only=True):
    """Where a node stands with profiling a model, of `splitctl model show`.

    Attributes:
        node: Name of the node.
        state: `done`; `running`; `retrying` (it failed for a passing reason and is tried again); `failed` (for good);
            `waiting` (nothing was heard yet).
        fraction: Done share of what runs. [1]
        reason: Why it fails or failed.
        attempts: How many tries failed so far.
        failing_s: Since the first of them; None where it did not fail. [s]
        next_try_s: Until the next one; 0: under way; None where it is not tried again. [s]
    """

    node: str
    state: Literal["done", "running", "retrying", "failed", "waiting"]
    fraction: float = 0.0
    reason: str = ""
    attempts: int = 0
    failing_s: float | None = None
    next_try_s: float | None = None


class ModelAddedDocument(msgspec.Struct, frozen=True, kw_only=True):
    """Result of `splitctl model add`.

    Attributes:
        name: Name of the model.
        sha256: Digest of its .onnx file.
        operators: How many can be placed; constants and folded shape arithmetic are not.
        units: How many units they make, operators that are always placed together.
        tensors: How many tensors operators hand to each other.
        quantizable: Operators that may run in int8; none before the model is complete.
        noise_model: How noise is modelled, and how well; None before the model is complete.
        warnings: Sentences (calibration generated, batch axis fixed, a node that could not profile).
        profiled: Online nodes whose profile is in.
        not_profiled: Online nodes whose profile is not, and why.
        codecs: What was measured of wire codecs; None where nothing was.
        stage: `float`: it can be deployed in float, the rest follows in the background; `complete`: noise and codecs are known.
        completion: How far that is; None where nothing is under way.
    """

    name: str
    sha256: str
    operators: int
    units: int
    tensors: int
    quantizable: tuple[str, ...]
    noise_model: NoiseModelDocument | None
    warnings: tuple[str, ...] = ()
    profiled: tuple[str, ...] = ()
    not_profiled: tuple[ProfilingRow, ...] = ()
    codecs: CodecsDocument | None = None
    stage: Literal["float", "complete"] = "complete"
    completion: CompletionRow | None = None


class ProfileModel(TaggedOperation, frozen=True, kw_only=True, tag="profile-model"):
    """Have online nodes profile a model once more. Answered with a list of `ProfiledRow`, after progress replies.

    Attributes:
        node: Only this one; None for all that are online.
    """

    name: str
    node: str | None = None


class ProfiledRow(msgspec.Struct, frozen=True, kw_only=True):
    """What came of `splitctl model profile` on one node.

    Attributes:
        node: Name of the node.
        state: `done`; `retrying` (failed, tried again by itself); `failed` (for good); `offline`; `silent` (it did not
            answer in time).
        seconds: Time it took, from the request on. [s]
        reason: Why it is not done; empty where it is.
        whole_s: The whole model in float as measured now, None where it was not. [s]
        next_try_s: Until it is tried again; None where it is not. [s]
    """

    node: str
    state: Literal["done", "retrying", "failed", "offline", "silent"]
    seconds: float
    reason: str = ""
    whole_s: float | None = None
    next_try_s: float | None = None


class ListModels(TaggedOperation, frozen=True, kw_only=True, tag="list-models"):
    """Answered with a list of `ModelDocument`."""


class ShowModel(TaggedOperation, frozen=True, kw_only=True, tag="show-model"):
    """Answered with `ModelDocument`."""

    name: str


class TighteningDocument(msgspec.Struct, frozen=True, kw_only=True):
    """That a model's noise model proved wrong on served requests and predicts more since.

    Attributes:
        factor: What everything that the noise model predicts is multiplied with. [1]
        float_only: The noise model is not believed any more: under a bound only float is planned.
        epoch: The last that exceeded its bound; the other figures are of it.
        samples: How many requests were checked.
        predicted: Noise of its plan under the noise model as it was then. [1]
        measured: Their mean noise. [1]
        bound: The bound that they exceeded. [1]
        at_unix_s: When that was found. [s since the epoch]
    """

    factor: float
    float_only: bool
    epoch: int
    samples: int
    predicted: float
    measured: float
    bound: float
    at_unix_s: float


class PlanningShapeRow(msgspec.Struct, frozen=True, kw_only=True):
    """Sizes that plans of a model are made for.

    Attributes:
        name: What its plan is asked for by: NAME for the first, then NAME@2, NAME@3, ...
        inputs: Shape of each input that has open axes; empty where none has.
        automatic: Planned for because requests ask it, and not because it was named.
        profiled: Online nodes that timed the model at these.
        epoch: Number of the active plan; None while it has none.
        predicted_latency_s: Of a request under that plan. [s]
    """

    name: str
    inputs: dict[str, tuple[int, ...]]
    automatic: bool
    profiled: tuple[str, ...]
    epoch: int | None
    predicted_latency_s: float | None


class ModelDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A row of `model list`, and `model show`.

    Attributes:
        name: Name of the model.
        sha256: Digest of its .onnx file.
        operators: How many can be placed; constants and folded shape arithmetic are not.
        units: How many units they make, operators that are always placed together.
        tensors: How many tensors operators hand to each other.
        quantizable: Operators that may run in int8; none before the model is complete.
        noise_model: How noise is modelled, and how well; None before the model is complete.
        inputs: What a request brings, in order.
        outputs: What it is answered, in order.
        weight_bytes: Size of all weights in float. [B]
        deployed: Whether a plan of it serves.
        source: Node where its requests arise; None while it is not deployed.
        epoch: Number of the active plan; None while it is not deployed.
        profiled: Online nodes whose profile is in: those that plans may use.
        profiled_offline: Nodes whose profile is in and that are away.
        goals: What its plans are made for.
        warnings: Sentences (calibration generated, batch axis fixed, a noise bound that no operator in int8 keeps).
        noise_tightening: That served requests were noisier than predicted; None where they were not.
        codecs: What was measured of wire codecs; None where nothing was.
        profiling: Where each node stands with profiling it.
        asked: Sizes that answered requests had, the most frequent first; empty where it leaves none open.
        stage: `float`: it can be deployed in float, the rest follows in the background; `complete`: noise and codecs are known.
        completion: How far that is; None where nothing is under way.
        shapes: Sizes that plans are made for, the first one first.
        paused_unix_s: Since when it is not planned again by itself, for `splitctl pause`; None where it is. [s since the epoch]
    """

    name: str
    sha256: str
    operators: int
    units: int
    tensors: int
    quantizable: tuple[str, ...]
    noise_model: NoiseModelDocument | None
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    weight_bytes: int
    deployed: bool
    source: str | None
    epoch: int | None
    profiled: tuple[str, ...]
    profiled_offline: tuple[str, ...] = ()
    goals: Goals | None = None
    warnings: tuple[str, ...] = ()
    noise_tightening: TighteningDocument | None = None
    codecs: CodecsDocument | None = None
    profiling: tuple[ProfilingRow, ...] = ()
    asked: tuple[AskedSizes, ...] = ()
    stage: Literal["float", "complete"] = "complete"
    completion: CompletionRow | None = None
    shapes: tuple[PlanningShapeRow, ...] = ()
    paused_unix_s: float | None = None


class RemoveModel(TaggedOperation, frozen=True, kw_only=True, tag="remove-model"):
    """Ends serving first. Answered with `ModelDocument` of what was removed; `deployed` says whether it served."""

    name: str


ModelOperation = AddModel | ProfileModel | ListModels | ShowModel | RemoveModel
