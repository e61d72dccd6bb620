"""Planning shapes as a user names them (`--shape INPUT=1x3x48x320`), combined over the inputs of a model.

Owns: which shapes of several inputs belong together. Its rule: what cannot belong together is refused with one sentence. Not
here: reading the command line, whether a shape fits the model (`graph/importing/opening/open_axes.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgesplit.errors import InvalidInput

__all__ = ["Shape", "combined_shapes"]

Shape = tuple[int, ...]

_MOST_SHAPES = 16
"""Each is planned for and profiled."""


def combined_shapes(named: Mapping[str, Sequence[Shape]]) -> tuple[dict[str, Shape], ...]:
    """Combine the shapes named for each input to whole planning shapes, in the order in which they were named.

    The first shape of each input makes the first planning shape, and so on; an input with one shape has it in all of them.

    Args:
        named: Input to the shapes named for it; inputs that are not named are not in the result.

    Raises:
        InvalidInput: They do not belong together, a size is below 1, or there are too many.
    """
    for name, shapes in named.items():
        for shape in shapes:
            if any(size < 1 for size in shape):
                written = "x".join(map(str, shape))
                raise InvalidInput(
                    f"--shape {name}={written} has a size below 1: name sizes that requests have, each 1 or more"
                )
    several = {name: shapes for name, shapes in named.items() if len(shapes) > 1}
    count = max(map(len, several.values()), default=1 if any(named.values()) else 0)
    for name, shapes in several.items():
        if len(shapes) != count:
            most = next(other for other, others in several.items() if len(others) == count)
            raise InvalidInput(
                f"--shape names {len(shapes)} shapes of {name} and {count} of {most}, which belong together in their order: "
                "name equally many of each input, or one that goes with all"
            )
    if count > _MOST_SHAPES:
        raise InvalidInput(
            f"--shape names {count} shapes to plan for, more than {_MOST_SHAPES}: name those that matter"
        )
    combined: list[dict[str, Shape]] = []
    for index in range(count):
        shapes_of = {name: shapes[min(index, len(shapes) - 1)] for name, shapes in named.items() if shapes}
        if shapes_of not in combined:
            combined.append(shapes_of)
    return tuple(combined)
