"""Noise regressors of degree 2 and 3 beside what was measured: the study's figure of how well noise is predicted.

Owns: measuring patterns by the product's own steps and fitting its polynomials of both degrees: to what was measured, and to patterns
filled in from that. Its rule: a pattern that was held out was not fitted to; margins and curves of the product's own noise model are not
in it. Not here: that model (`edgesplit_controller.quantization.noise`).
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from edgesplit_controller.graph.blobs import BlobStore
from edgesplit_controller.graph.importing.importer import import_model
from edgesplit_controller.graph.quantizable import candidates
from edgesplit_controller.quantization.calibration import load_calibration
from edgesplit_controller.quantization.noise.noise_model import completed, model_noise
from edgesplit_controller.quantization.noise.pattern_runs import Measured
from edgesplit_controller.quantization.noise.regression import affordable_degree, fit_polynomial, r_squared, sets_of
from lab.results import NoiseFitFacts
from lab.running.prepared_models import PreparedModel

__all__ = ["fits_of", "noise_fits"]

DEGREES = (2, 3)
SEED = 0
BUDGET_S = 60.0
"""Of measuring. [s]"""


def noise_fits(model: PreparedModel) -> list[NoiseFitFacts]:
    """Measure patterns of a model and fit both degrees."""
    with tempfile.TemporaryDirectory(prefix="edgesplit-lab-") as folder:
        blobs = BlobStore(Path(folder))
        graph = import_model(model.path, blobs)
        chosen = candidates(graph, limit=model.max_quantizable)
        profile = model_noise(graph, blobs, chosen, load_calibration(model.calibration, graph), budget_s=BUDGET_S)
    return [] if profile.measured is None else fits_of(profile.measured)


def fits_of(measured: Measured) -> list[NoiseFitFacts]:
    """Polynomials of both degrees, as far as there are patterns enough to fit them."""
    held_out = measured.held_out
    bits, rho = measured.bits[~held_out], measured.rho[~held_out]
    fitted, noise = completed(measured, np.random.default_rng(SEED))
    found: list[NoiseFitFacts] = []
    for degree in DEGREES:
        if degree > affordable_degree(bits.shape[1]) or len(fitted) <= len(sets_of(bits.shape[1], degree)):
            continue
        polynomial = fit_polynomial(fitted, noise, degree)
        predicted = polynomial.predict(measured.bits)
        found.append(
            NoiseFitFacts(
                degree=degree,
                r2_train=r_squared(rho, predicted[~held_out]),
                r2_test=r_squared(measured.rho[held_out], predicted[held_out]) if held_out.any() else None,
                measured=measured.rho.tolist(),
                predicted=predicted.tolist(),
                held_out=held_out.tolist(),
            )
        )
    return found
