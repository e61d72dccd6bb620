"""The user's model as a graph that can be split.

Owns: everything that reads or writes ONNX for splitting. Its rule: no times, nodes or links here; those are the
planner's. In order of use: `importer` (with `reading`, `normalise`, `shapes`, `folding`, `branches`) makes a
`model.ModelGraph`, `quantizable` chooses candidates for int8, `units` groups operators, `planning` lists what flows
between units, `cut` makes submodels, `runner` runs them here. Weights live in `blobs`.

Nothing is imported at this level: `model`, `units`, `planning` and `blobs` load without onnx.
"""
