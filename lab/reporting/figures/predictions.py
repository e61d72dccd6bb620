"""Predicted against real latency over the bound on noise, a figure for each configuration, a panel for each weighting.

Owns: the study's second to fourth figure. Its rule: a prediction is drawn as it was read before the first request, with the interval that it
stated; a measurement with the spread of its requests. Not here: the errors' summary (`analysis/prediction_errors.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from matplotlib.axes import Axes

from lab.comparing.cell_goals import configuration, measured, median_s
from lab.reporting import published
from lab.reporting.analysis.prediction_errors import ConfigurationErrors, errors_by_configuration
from lab.reporting.figures.drawing import Drawing, Panel
from lab.reporting.figures.noise_axis import bounds_of, cells_at, draw_noise_axis, weightings
from lab.reporting.figures.palette import Palette
from lab.reporting.wording import counted, of_share, slug
from lab.results import Cell

__all__ = ["prediction_drawings"]


def prediction_drawings(model: str, cells: Sequence[Cell], missing: Iterable[str]) -> list[Drawing]:
    """Of one model's cells, fewest nodes first; `missing` names goals without cells."""
    own = [cell for cell in cells if cell.model == model and measured(cell)]
    lost = list(missing)
    return [
        _drawing(model, errors, [cell for cell in own if tuple(cell.nodes) == errors.nodes], lost)
        for errors in errors_by_configuration(own)
    ]


def _drawing(model: str, errors: ConfigurationErrors, cells: Sequence[Cell], lost: Sequence[str]) -> Drawing:
    theirs = published.PREDICTION_ERRORS.get(len(errors.nodes))
    ours = (of_share(errors.mean.value), of_share(errors.worst))
    return Drawing(
        name=f"prediction-{slug(model)}-{slug(errors.name)}",
        title=f"Predicted against real latency: {errors.name} ({model})",
        caption=(
            "Dash and box: predicted before the first request, with the stated 90 % interval. Mark: measured median of the requests "
            "that followed, the line through it from their 5th to their 95th percentile. Marks side by side are rounds."
        ),
        alternative=(
            f"Latency over max noise for {errors.name}: predictions beside measurements of {len(cells)} cells; "
            f"mean error {ours[0]}, worst {ours[1]}."
        ),
        panels=tuple(
            Panel(weights.text, _Latencies(cells_at(cells, weights), bounds_of(cells))) for weights in weightings(cells)
        ),
        published=(
            ("error of predictions", "mean", "worst"),
            (f"here, {counted(len(errors.cells), 'prediction')}", *ours),
            *(() if theirs is None else (("study", of_share(theirs[0]), of_share(theirs[1])),)),
        ),
        notes=tuple(f"Not measured: {text}." for text in lost if f", {configuration(errors.nodes)}, " in text),
    )


class _Latencies:
    def __init__(self, cells: Sequence[Cell], bounds: Sequence[float]) -> None:
        self._cells = cells
        self._bounds = bounds

    def __call__(self, axes: Axes, palette: Palette) -> None:
        rounds = sorted({cell.round for cell in self._cells})
        step = 0.7 / max(len(rounds), 1)
        for cell in self._cells:
            x = self._bounds.index(cell.max_noise) + (rounds.index(cell.round) - (len(rounds) - 1) / 2) * step
            half = min(step, 0.5) * 0.42
            if cell.plan.interval_s is not None:
                low, high = cell.plan.interval_s
                axes.fill_between([x - half, x + half], low, high, color=palette.predicted, alpha=0.2, linewidth=0)
            axes.plot([x - half, x + half], [cell.plan.predicted_s] * 2, color=palette.predicted, linewidth=1.8)
            ordered = sorted(cell.latencies_s)
            cut = int(0.05 * len(ordered))
            axes.plot([x, x], [ordered[cut], ordered[-1 - cut]], color=palette.own, linewidth=1.1)
            axes.plot([x], [median_s(cell)], "o", color=palette.own, markersize=4.5)
        axes.plot([], [], color=palette.predicted, linewidth=1.8, label="predicted")
        axes.plot([], [], "o", color=palette.own, markersize=4.5, label="measured")
        low, high = axes.get_ylim()
        axes.set_ylim(low, high + 0.2 * (high - low))
        axes.set_ylabel("latency [s]")
        draw_noise_axis(axes, self._bounds)
        axes.legend(loc="upper right", ncols=2)
