"""The noise regressor's fit: predicted against measured noise, a panel for each degree.

Owns: the study's first figure. Its rule: held-out patterns are told from those that the fit saw. Not here: fitting.
"""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes

from lab.reporting import published
from lab.reporting.figures.drawing import Drawing, Panel
from lab.reporting.figures.palette import Palette
from lab.reporting.wording import slug
from lab.results import ModelFacts, NoiseFitFacts

__all__ = ["noise_fit_drawing"]


def noise_fit_drawing(name: str, model: ModelFacts) -> Drawing | None:
    """Of one model; None where no fit was recorded."""
    fits = sorted((fit for fit in model.fits if fit.measured), key=lambda fit: fit.degree)
    if not fits:
        return None
    tests = ", ".join(f"{_r2(fit.r2_test)} at degree {fit.degree}" for fit in fits)
    degrees = {fit.degree for fit in fits}
    return Drawing(
        name=f"noise-fit-{slug(name)}",
        title=f"Noise regressor: predicted against measured ({name})",
        caption=(
            f"Each mark is a pattern of operators in int8 ({len(fits[0].measured)} patterns of {len(model.quantizable)} "
            "quantizable units); noise is the mean absolute difference of the outputs to the float model's, measured by "
            "running both. Filled: held out from the fit. The line is where both agree."
        ),
        alternative=f"Scatter plots of predicted over measured noise along the diagonal. R² on held-out patterns: {tests}.",
        panels=tuple(Panel(f"degree {fit.degree}", _Scatter(fit)) for fit in fits),
        published=(
            ("", "R² held out"),
            ("study, degree 3, 1,000 patterns", f"{published.R2_TEST}"),
            *((f"here, degree {fit.degree}, {len(fit.measured)} patterns", _r2(fit.r2_test)) for fit in fits),
        ),
        notes=tuple(f"No fit of degree {degree} was recorded." for degree in (2, 3) if degree not in degrees),
        data="noise_fits.csv",
    )


class _Scatter:
    def __init__(self, fit: NoiseFitFacts) -> None:
        self._fit = fit

    def __call__(self, axes: Axes, palette: Palette) -> None:
        fit = self._fit
        top = max((*fit.measured, *fit.predicted)) * 1.05 or 1.0
        low = min(0.0, *fit.predicted) * 1.05
        axes.plot([low, top], [low, top], color=palette.faint, linewidth=1.0)
        seen = [number for number, kept in enumerate(fit.held_out) if not kept]
        kept = [number for number, kept in enumerate(fit.held_out) if kept]
        axes.plot(
            _at(fit.measured, seen), _at(fit.predicted, seen), "o", markersize=3.5, label="fitted on",
            markerfacecolor="none", markeredgecolor=palette.other, markeredgewidth=0.8,
        )  # fmt: skip
        axes.plot(
            _at(fit.measured, kept), _at(fit.predicted, kept), "o", markersize=4, label="held out", color=palette.own
        )
        axes.set_xlim(low, top)
        axes.set_ylim(low, top)
        axes.set_xlabel("measured noise")
        axes.set_ylabel("predicted noise")
        axes.text(
            0.97, 0.05, f"R² held out {_r2(fit.r2_test)}\nR² fitted {_r2(fit.r2_train)}",
            transform=axes.transAxes, ha="right", va="bottom", fontsize=9,
        )  # fmt: skip
        axes.legend(loc="upper left")


def _at(figures: Sequence[float], numbers: Sequence[int]) -> list[float]:
    return [figures[number] for number in numbers]


def _r2(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"
