"""The limit on noise in the CP-SAT model: of listed patterns, or of the interaction polynomial and its curve, plus codecs.

Owns: these constraints. Its rule: nothing that keeps the limit is lost; what breaks it by less than integers show is judged
afterwards. Not here: limits on other sums, which `objective` scales; the listing of patterns (`bounds/noise_patterns.py`).

A curve needs no variables for its noise. Where codecs add none, the bound on the noise is one on the level (the polynomial's
value). Where they do, one yes-no variable says on which line of the curve the level is, and that line's noise is bounded.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from edgesplit.planning.noise_curve import NoiseCurve
from edgesplit.planning.problem import Problem
from edgesplit_controller.planner.bounds.noise_patterns import Patterns
from edgesplit_controller.planner.cpsat.objective import Term, add_at_most
from edgesplit_controller.planner.cpsat.solver_library import cp_model
from edgesplit_controller.planner.cpsat.variables import Var, Variables
from edgesplit_controller.planner.meaning.costs import Costs
from edgesplit_controller.planner.meaning.tolerance import DOUBT

__all__ = ["limit_noise"]

Part = tuple[Var, float]
"""A yes-no choice and what it adds."""


def limit_noise(
    model: cp_model.CpModel, problem: Problem, costs: Costs, patterns: Patterns | None, variables: Variables
) -> None:
    """Bound the noise of what is quantized plus that of every codec in use; patterns alone are within the limit as listed."""
    limit = problem.constraints.max_noise
    codecs = _codec_choices(variables)
    if limit is None or (patterns is not None and not codecs):
        return
    if patterns is not None:
        listed = zip(variables.pattern, patterns.noise.tolist(), strict=True)
        _at_most(model, [*listed, *codecs], limit)
        return
    any_bit, level = _polynomial(model, costs, variables)
    curve = costs.noise.curve
    if any_bit is None or curve is None:
        _at_most(model, [*level, *codecs], limit)
        return
    most = limit + DOUBT * max(limit, costs.noise.magnitude + sum(noise for _, noise in codecs))
    if codecs:
        _at_most(model, codecs, limit)
        _limit_lines(model, any_bit, level, codecs, curve=curve, limit=most)
    else:
        _limit_level(model, any_bit, level, curve=curve, limit=most)


def _codec_choices(variables: Variables) -> list[Part]:
    return [
        (var, wire.tensor.modes[index].noise)
        for wire in variables.wires
        for (_, index), var in wire.carrier.offers.items()
        if wire.tensor.modes[index].noise > 0
    ]


def _polynomial(model: cp_model.CpModel, costs: Costs, variables: Variables) -> tuple[Var | None, list[Part]]:
    """Whether anything is quantized, and the interaction polynomial with one variable per product.

    For more operators than a table holds.
    """
    bits: dict[int, Var] = {}
    for operator, by_node in variables.quantize.items():
        bits[operator] = model.new_bool_var("")
        model.add(cp_model.LinearExpr.sum(list(by_node.values())) == bits[operator])
    if not bits:
        return None, []
    any_bit = model.new_bool_var("")
    model.add_max_equality(any_bit, list(bits.values()))
    parts: list[Part] = [(any_bit, costs.noise.intercept)]
    for members, coefficient in costs.noise.terms:
        if not all(member in bits for member in members):
            continue
        product = any_bit
        if members:
            product = bits[min(members)] if len(members) == 1 else model.new_bool_var("")
        if len(members) > 1:
            model.add_min_equality(product, [bits[member] for member in sorted(members)])
        parts.append((product, coefficient))
    return any_bit, parts


def _limit_level(
    model: cp_model.CpModel, any_bit: Var, level: Sequence[Part], *, curve: NoiseCurve, limit: float
) -> None:
    """Once anything is quantized the level is within reach; while nothing is, all of its products are 0."""
    if limit < curve.noises[0]:
        model.add(any_bit == 0)
        return
    reach = curve.reach(Fraction(limit))
    if reach is not None:
        _at_most(model, [*level, (any_bit, -float(reach))], 0.0)


def _limit_lines(
    model: cp_model.CpModel,
    any_bit: Var,
    level: Sequence[Part],
    codecs: Sequence[Part],
    *,
    curve: NoiseCurve,
    limit: float,
) -> None:
    """The level is on one of the curve's lines, once anything is quantized; that line's noise leaves room for the codecs."""
    inside: list[Var] = []
    for line in curve.lines():
        if line.noise > limit:
            break
        here = model.new_bool_var("")
        inside.append(here)
        slope, start = float(line.slope), 0.0
        if line.low is not None:
            start = slope * line.low
            _at_most(model, [(var, -amount) for var, amount in level], -line.low, only_if=here)
        if line.high is not None:
            _at_most(model, level, line.high, only_if=here)
        room = limit - line.noise + start + DOUBT * (limit + line.noise + abs(start))
        _at_most(model, [*((var, slope * amount) for var, amount in level), *codecs], room, only_if=here)
    model.add(cp_model.LinearExpr.sum(inside) == any_bit)


def _at_most(model: cp_model.CpModel, parts: Sequence[Part], limit: float, *, only_if: Var | None = None) -> None:
    add_at_most(model, [Term(var) for var, _ in parts], [amount for _, amount in parts], limit, only_if=only_if)
