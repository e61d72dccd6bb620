"""Units: operators that always stay together, because a cut between them can never pay.

Owns: grouping operators into units. Its rule: a merge may only remove cuts that cannot pay, keeps the graph of units
acyclic, and never hides the output of a quantizable operator. Not here: where units run, cutting.

A unit ends where a cut may pay. Starting from one unit per operator, these merges are repeated while any applies.
A "light" operator moves bytes or does a few operations per element; onnxruntime mostly fuses it into a neighbour.

whole:    A tensor that cannot travel (a sequence, a size that depends on the data) ties its producer and consumers
          together, with everything on the ways between them. Not a choice: there is no such cut.
backward: A light unit whose inputs all come from one unit, and go nowhere else, joins it when it makes at most as
          many tensors and bytes as it reads. Cutting after it sends no more than cutting before it and keeps fused
          kernels whole (Conv + BatchNormalization + Relu, the Sigmoid and Mul of SiLU, pooling, softmax, views).
          As all its inputs come from there, no way leads out of the merged unit and back.
forward:  A light unit whose outputs all go to one unit joins that when this makes it read at most as many more
          tensors and bytes as the merged cut would have carried (views, casts and padding in front of a convolution,
          DequantizeLinear, arithmetic on weights, the first half of a normalisation whose second half reads the same
          tensor). Cutting before it sends no more. As all its outputs go there, again no way leads back.
index:    A small integer or boolean tensor (indices, a shape that depends on an input's value) is no cut when at most
          one of the units it connects is heavy: its producer costs next to nothing wherever it runs.

The output of an operator in `splittable_outputs` never joins anything behind it: it may travel in int8.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from heapq import heapify, heappop, heappush

from edgesplit_controller.graph.model_graph import GraphOperator, GraphTensor, SizeTensor, Unit

__all__ = ["find_units", "kept_whole"]

_VIEWS = frozenset({"Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout", "Cast", "Expand",
                    "Tile", "Pad", "DequantizeLinear", "SpaceToDepth", "DepthToSpace", "Slice"})  # fmt: skip
_LIGHT = _VIEWS | frozenset({
    "Relu", "LeakyRelu", "PRelu", "Elu", "Selu", "Celu", "ThresholdedRelu", "Clip", "Sigmoid", "HardSigmoid", "Tanh",
    "HardSwish", "Swish", "Mish", "Gelu", "Softplus", "Softsign", "Erf", "Exp", "Log", "Sqrt", "Reciprocal", "Neg", "Abs",
    "Sign", "Floor", "Ceil", "Round", "Not", "Sin", "Cos", "IsNaN", "IsInf", "Add", "Sub", "Mul", "Div", "Pow", "Mod",
    "Min", "Max", "Sum", "Mean", "And", "Or", "Xor", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual",
    "Where", "Softmax", "LogSoftmax", "Hardmax", "BatchNormalization", "InstanceNormalization", "LayerNormalization",
    "GroupNormalization", "RMSNormalization", "LRN", "LpNormalization", "MeanVarianceNormalization", "MaxPool",
    "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "LpPool", "ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin",
    "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceProd", "ReduceLogSum", "ReduceLogSumExp", "ArgMax", "ArgMin",
    "Gather", "GatherElements", "GatherND", "Concat", "Split", "QuantizeLinear", "ConstantOfShape", "Range", "EyeLike",
    "Shape", "Size", "Upsample", "Resize", "OneHot", "CumSum", "Trilu",
})  # fmt: skip
_INDEX_DTYPES = frozenset({"int64", "int32", "bool"})
_SMALL_INDEX_BYTES = 1024


def kept_whole(
    operators: Sequence[GraphOperator], tensors: Mapping[str, GraphTensor], sizes: Collection[SizeTensor] = ()
) -> tuple[frozenset[str], ...]:
    """Return the groups of operators that tensors which cannot travel tie together, disjoint and convex."""
    ties = [
        {name for name in (tensor.producer, *tensor.consumers) if name is not None}
        for tensor in tensors.values()
        if not tensor.cuttable
    ]
    if not ties:
        return ()
    behind: dict[str, set[str]] = {operator.name: set() for operator in operators}
    for tensor in tensors.values():
        if tensor.producer is not None:
            behind[tensor.producer].update(tensor.consumers)
    for entry in sizes:
        if entry.producer is not None:
            behind[entry.producer].update(entry.consumers)
    # An edge in both directions ties two operators; whatever lies on a cycle then is one group.
    for tie in ties:
        first, *others = sorted(tie)
        behind[first].update(others)
        for other in others:
            behind[other].add(first)
    return tuple(group for group in _on_cycles(behind) if len(group) > 1)


def _on_cycles(behind: Mapping[str, Collection[str]]) -> list[frozenset[str]]:
    """Strongly connected components of a graph.

    networkx has them, but its import takes a tenth of the memory of a process that takes a model in, and a quarter of its start.

    References: M. Sharir, A strong-connectivity algorithm and its applications in data flow analysis, 1981.
    """
    before: dict[str, list[str]] = {name: [] for name in behind}
    for name, others in behind.items():
        for other in others:
            before[other].append(name)
    groups: list[frozenset[str]] = []
    grouped: set[str] = set()
    for name in reversed(_finished(behind)):
        if name not in grouped:
            group, waiting = {name}, [name]
            while waiting:
                new = set(before[waiting.pop()]) - grouped - group
                group |= new
                waiting += new
            grouped |= group
            groups.append(frozenset(group))
    return groups


def _finished(behind: Mapping[str, Collection[str]]) -> list[str]:
    """The nodes of a graph in the order in which a search in depth leaves them."""
    left: list[str] = []
    seen: set[str] = set()
    for start in behind:
        way = [] if start in seen else [(start, iter(behind[start]))]
        seen.add(start)
        while way:
            name, coming = way[-1]
            new = next((other for other in coming if other not in seen), None)
            if new is None:
                left.append(name)
                way.pop()
            else:
                seen.add(new)
                way.append((new, iter(behind[new])))
    return left


def find_units(
    operators: Sequence[GraphOperator],
    tensors: Mapping[str, GraphTensor],
    splittable_outputs: Collection[str],
    sizes: Collection[SizeTensor] = (),
) -> tuple[Unit, ...]:
    """Group operators into units, in topological order; see the module's docstring for the rule.

    Args:
        operators: In topological order.
        tensors: All their activation tensors.
        splittable_outputs: Operators (the quantizable ones) whose outputs stay possible cuts. One inside a part that
            is kept whole is not honoured: leave those out with `kept_whole`.
        sizes: What operators need to know of tensors they do not read: it weighs nothing, but comes before them.
    """
    whole = kept_whole(operators, tensors, sizes)
    inside = frozenset(name for group in whole for name in group)
    partition = _Partition(operators, tensors, frozenset(splittable_outputs) - inside, sizes)
    for group in whole:
        partition.merge(group)
    # Backward comes first: fused kernels are worth more than views in front of their consumer.
    while partition.merge_backward() or partition.merge_forward() or partition.merge_indices():
        pass
    return partition.units()


class _Partition:
    """A partition of the operators that only grows coarser, always with an acyclic quotient."""

    def __init__(
        self,
        operators: Sequence[GraphOperator],
        tensors: Mapping[str, GraphTensor],
        splittable: frozenset[str],
        sizes: Collection[SizeTensor],
    ) -> None:
        self._operators = {operator.name: operator for operator in operators}
        self._order = {operator.name: index for index, operator in enumerate(operators)}
        self._tensors = tensors
        self._splittable = splittable
        self._unit = {operator.name: operator.name for operator in operators}
        self._members = {operator.name: [operator.name] for operator in operators}
        self._told: dict[str, set[str]] = {}
        """Operator to those that need to know the size of what it makes."""
        self._asked: dict[str, set[str]] = {}
        for entry in sizes:
            if entry.producer is not None:
                self._told.setdefault(entry.producer, set()).update(entry.consumers)
                for consumer in entry.consumers:
                    self._asked.setdefault(consumer, set()).add(entry.producer)

    def merge(self, names: Iterable[str]) -> None:
        """Put the units of these operators into one, named by its first operator."""
        roots = sorted({self._unit[name] for name in names}, key=self._order.__getitem__)
        for root in roots[1:]:
            for member in self._members.pop(root):
                self._unit[member] = roots[0]
                self._members[roots[0]].append(member)

    def merge_backward(self) -> bool:
        """Merge light units into the unit that alone feeds them, once around; tell whether any was merged."""
        merged = False
        for root in list(self._members):
            if root in self._members and self._is_light(root) and (feeder := self._sole_feeder(root)) is not None:
                self.merge((feeder, root))
                merged = True
        return merged

    def _sole_feeder(self, root: str) -> str | None:
        read, made = self._inputs(root), self._outputs(root)
        feeders = {self._unit[tensor.producer] if tensor.producer is not None else None for tensor in read}
        if len(feeders) != 1:
            return None
        feeder = feeders.pop()
        if feeder is None or not _carries_no_more(made, read):
            return None
        both = {feeder, root}
        for tensor in read:
            shared = tensor.is_output or any(self._unit[consumer] not in both for consumer in tensor.consumers)
            if shared or tensor.producer in self._splittable:
                return None
        return feeder if self._sizes_allow(both) else None

    def merge_forward(self) -> bool:
        """Merge light units into the unit that alone reads them, once around; tell whether any was merged."""
        merged = False
        for root in list(self._members)[::-1]:
            if root in self._members and self._is_light(root) and (reader := self._sole_reader(root)) is not None:
                self.merge((root, reader))
                merged = True
        return merged

    def _sole_reader(self, root: str) -> str | None:
        made = self._outputs(root)
        readers = {self._unit[consumer] for tensor in made for consumer in tensor.consumers} - {root}
        if len(readers) != 1 or any(tensor.is_output for tensor in made):
            return None
        reader = readers.pop()
        already_read = {tensor.name for tensor in self._inputs(reader)}
        extra = [tensor for tensor in self._inputs(root) if tensor.name not in already_read]
        if not _carries_no_more(extra, made):
            return None
        only_views = all(self._operators[name].op_type in _VIEWS for name in self._members[root])
        # An activation belongs to what feeds it, not to the next convolution.
        if extra and not only_views and not self._is_light(reader):
            return None
        return reader if self._sizes_allow({root, reader}) else None

    def _sizes_allow(self, roots: set[str]) -> bool:
        """Whether a merge that is sound without them stays so: without any, nothing leads out and back."""
        members = [member for root in roots for member in self._members[root]]
        return not any(member in self._told or member in self._asked for member in members) or self._may_join(roots)

    def merge_indices(self) -> bool:
        """Merge the units around one small integer tensor; tell whether any were merged."""
        for tensor in self._tensors.values():
            if tensor.producer is None or tensor.producer in self._splittable or tensor.is_output:
                continue
            if tensor.dtype not in _INDEX_DTYPES or tensor.nbytes > _SMALL_INDEX_BYTES:
                continue
            roots = {self._unit[name] for name in (tensor.producer, *tensor.consumers)}
            if len(roots) > 1 and sum(not self._is_light(root) for root in roots) <= 1 and self._may_join(roots):
                self.merge(roots)
                return True
        return False

    def _may_join(self, roots: set[str]) -> bool:
        # Convex: nothing outside lies between. Sound: no quantizable output would end up inside.
        frontier = set()
        for root in roots:
            for tensor in self._outputs(root):
                readers = {self._unit[consumer] for consumer in tensor.consumers}
                if tensor.producer in self._splittable and readers & roots:
                    return False
                frontier |= readers - roots
            frontier |= self._told_units(root) - roots
        seen = set(frontier)
        while frontier:
            root = frontier.pop()
            readers = {self._unit[name] for tensor in self._outputs(root) for name in tensor.consumers} - {root}
            readers |= self._told_units(root)
            if readers & roots:
                return False
            frontier |= readers - seen
            seen |= readers
        return True

    def _told_units(self, root: str) -> set[str]:
        told = {reader for member in self._members[root] for reader in self._told.get(member, ())}
        return {self._unit[reader] for reader in told} - {root}

    def units(self) -> tuple[Unit, ...]:
        """Return the units in topological order."""
        waiting = {
            root: {self._unit[tensor.producer] for tensor in self._inputs(root) if tensor.producer is not None}
            | ({self._unit[other] for member in members for other in self._asked.get(member, ())} - {root})
            for root, members in self._members.items()
        }
        ready = [(self._order[root], root) for root, needed in waiting.items() if not needed]
        heapify(ready)
        units: list[Unit] = []
        while ready:
            _, root = heappop(ready)
            units.append(self._as_unit(root))
            readers = {self._unit[name] for tensor in self._outputs(root) for name in tensor.consumers} - {root}
            for reader in readers | self._told_units(root):
                waiting[reader].discard(root)
                if not waiting[reader]:
                    heappush(ready, (self._order[reader], reader))
        return tuple(units)

    def _as_unit(self, root: str) -> Unit:
        members = sorted(self._members[root], key=self._order.__getitem__)
        outputs = self._outputs(root)
        return Unit(
            name=max(members, key=lambda name: (name in self._splittable, self._operators[name].flops)),
            operators=tuple(members),
            inputs=tuple(tensor.name for tensor in self._inputs(root)),
            outputs=tuple(tensor.name for tensor in outputs),
            at_source=any(not tensor.cuttable for tensor in outputs),
        )

    def _is_light(self, root: str) -> bool:
        members = self._members[root]
        return all(self._operators[name].op_type in _LIGHT and name not in self._splittable for name in members)

    def _inputs(self, root: str) -> list[GraphTensor]:
        names = dict.fromkeys(name for member in self._members[root] for name in self._operators[member].inputs)
        tensors = (self._tensors[name] for name in names)
        return [tensor for tensor in tensors if tensor.producer is None or self._unit[tensor.producer] != root]

    def _outputs(self, root: str) -> list[GraphTensor]:
        made = (self._tensors[name] for member in self._members[root] for name in self._operators[member].outputs)
        return [
            tensor
            for tensor in made
            if tensor.is_output or any(self._unit[consumer] != root for consumer in tensor.consumers)
        ]


def _carries_no_more(tensors: Sequence[GraphTensor], limit: Sequence[GraphTensor]) -> bool:
    fewer = len(tensors) <= len(limit)
    return fewer and sum(tensor.nbytes for tensor in tensors) <= sum(tensor.nbytes for tensor in limit)
