"""Classifiers as converters of scikit-learn write them, and models that take or give texts."""

from __future__ import annotations

import onnx
from onnx import TensorProto, helper

from tests.graph.traps.trap import Trap

__all__ = ["CLASSIFIERS", "TEXTS", "as_maps"]

_SCORES = "coefficients=[0.3,-0.2,0.1,0.5,-0.4,0.2,0.6,-0.1,0.2,0.1,-0.3,0.4], intercepts=[0.1,-0.1,0.2]"
_TREE = (
    "nodes_treeids=[0,0,0,0,0], nodes_nodeids=[0,1,2,3,4], nodes_featureids=[2,0,1,0,0], "
    "nodes_values=[0.5,0.0,0.3,0.0,0.0], nodes_hitrates=[1.0,1.0,1.0,1.0,1.0], "
    'nodes_modes=["BRANCH_LEQ","LEAF","BRANCH_LEQ","LEAF","LEAF"], nodes_truenodeids=[1,0,3,0,0], '
    "nodes_falsenodeids=[2,0,4,0,0], nodes_missing_value_tracks_true=[0,0,0,0,0], class_treeids=[0,0,0,0,0,0,0], "
    "class_nodeids=[1,1,3,3,4,4,4], class_ids=[0,1,1,2,0,1,2], class_weights=[0.7,0.3,0.8,0.2,0.1,0.2,0.7]"
)
_TEXTS = 'classlabels_strings=["setosa","versicolor","virginica"]'
_NUMBERS = "classlabels_int64s=[0,1,2]"


def as_maps(model: onnx.ModelProto) -> None:
    """Declare the last output as what a ZipMap makes."""
    node = next(node for node in model.graph.node if node.op_type == "ZipMap")
    kind = TensorProto.STRING if node.attribute[0].name == "classlabels_strings" else TensorProto.INT64
    value = helper.make_map_type_proto(kind, helper.make_tensor_type_proto(TensorProto.FLOAT, []))
    model.graph.output[-1].type.CopyFrom(helper.make_sequence_type_proto(value))


def _classifier(label: str, made: str, classes: str, *, rows: str = "1") -> Trap:
    return Trap(
        "classifier",
        f"""g (float[{rows},4] x) => ({label}[{rows}] output_label, float[1] output_probability) {{
        h = MatMul (x, w)  n = ai.onnx.ml.Normalizer <norm="L2"> (h)  {made}
        output_label = Identity (l)  output_probability = ai.onnx.ml.ZipMap <{classes}> (p) }}""",
        {"w": (4, 4)},
        change=as_maps,
    )


CLASSIFIERS = {
    f"{name}_{kind}": _classifier(
        label,
        f"l, p = ai.onnx.ml.{made} <{classes.replace('int64s', 'ints') if made == 'LinearClassifier' else classes}, {attributes}> (n)",
        classes,
        rows=rows,
    )
    for name, made, attributes in (
        ("linear", "LinearClassifier", f'{_SCORES}, post_transform="SOFTMAX"'),
        ("tree", "TreeEnsembleClassifier", f'{_TREE}, post_transform="NONE"'),
    )
    for kind, label, classes, rows in (
        ("texts", "string", _TEXTS, "1"),
        ("numbers", "int64", _NUMBERS, "1"),
        ("rows", "string", _TEXTS, "5"),
        ("open_rows", "string", _TEXTS, "N"),
    )
} | {
    "label_encoder": Trap(
        "classifier",
        """g (float[1,4] x) => (string[1] label, float[1,4] scores) {
        scores = MatMul (x, w)  i = ArgMax <axis=1, keepdims=0> (scores)
        label = ai.onnx.ml.LabelEncoder <keys_int64s=[0,1,2,3], values_strings=["a","b","c","long one"]> (i) }""",
        {"w": (4, 4)},
    ),
    "feature_extractor": Trap(
        "classifier",
        """g (float[1,4] x) => (string[1] label, float[1,4] scores) <string[4] names = {"a","b","c","d"}> {
        scores = MatMul (x, w)  i = ArgMax <axis=1, keepdims=0> (scores)
        l = ai.onnx.ml.ArrayFeatureExtractor (names, i)  label = Reshape (l, one) }""",
        {"w": (4, 4)},
        change=lambda model: model.graph.initializer.append(helper.make_tensor("one", TensorProto.INT64, [1], [-1])),
    ),
    "regression_of_vectors": Trap(
        "classifier",
        """g (float[1,4] x) => (float[1,1] out) {
        h = MatMul (x, w)  s = ai.onnx.ml.Scaler <offset=[0.1,0.2,0.3,0.4], scale=[1.0,2.0,1.0,0.5]> (h)
        b = ai.onnx.ml.Binarizer <threshold=0.2> (s)  i = ai.onnx.ml.Imputer <imputed_value_floats=[0.0]> (s)
        m = Mul (b, i)  out = ai.onnx.ml.LinearRegressor <coefficients=[0.1,0.2,0.3,0.4], intercepts=[0.5]> (m) }""",
        {"w": (4, 4)},
    ),
}

TEXTS = {
    "label_encoder_of_texts": Trap(
        "texts",
        """g (string[1,4] x) => (float[1,8] out) {
        e = ai.onnx.ml.LabelEncoder <keys_strings=["word","b"], values_floats=[1.0,2.0], default_float=0.5> (x)
        y = MatMul (e, w)  out = Relu (y) }""",
        {"w": (4, 8)},
    ),
    "terms": Trap(
        "texts",
        """g (string[1,4] x) => (float[1,8] out) {
        t = TfIdfVectorizer <mode="TF", min_gram_length=1, max_gram_length=1, max_skip_count=0, ngram_counts=[0],
            ngram_indexes=[0,1,2], pool_strings=["word","b","c"]> (x)
        y = MatMul (t, w)  out = Relu (y) }""",
        {"w": (3, 8)},
    ),
    "normalized_text": Trap(
        "texts",
        """g (string[2] x, float[1,8] f) => (string[N] t, float[1,8] out) {
        t = StringNormalizer <case_change_action="UPPER", is_case_sensitive=1, locale="C"> (x)  y = MatMul (f, w)  out = Relu (y) }""",
        {"w": (8, 8)},
    ),
    "stop_words": Trap(
        "texts",
        """g (string[2] x, float[1,8] f) => (int64 n, float[1,8] out) {
        t = StringNormalizer <stopwords=["word"], locale="C"> (x)  n = Size (t)  y = MatMul (f, w)  out = Relu (y) }""",
        {"w": (8, 8)},
    ),
    "joined_texts": Trap(
        "texts",
        """g (string[1,2] x, string[1,2] z) => (string[1,2] t, bool[1,2] m) {
        t = StringConcat (x, z)  m = RegexFullMatch <pattern="[a-z]+"> (t) }""",
        opset=20,
        ir=9,
    ),
    "text_through": Trap("texts", "g (string[2,3] x) => (string[3,2] out) { out = Transpose (x) }"),
    "scalar_text": Trap("texts", "g (string x) => (string out) { out = Identity (x) }"),
    "numbers_of_texts": Trap(
        "texts",
        """g (float[1,8] x) => (float[1,8] out) {
        y = MatMul (x, w)  i = Cast <to=7> (y)  t = Cast <to=8> (i)  u = Reshape (t, flat)  v = Reshape (u, back)
        n = Cast <to=1> (v)  z = MatMul (n, w)  out = Relu (z) }""",
        {"w": (8, 8)},
        change=lambda model: model.graph.initializer.extend(
            [
                helper.make_tensor("flat", TensorProto.INT64, [1], [-1]),
                helper.make_tensor("back", TensorProto.INT64, [2], [1, 8]),
            ]
        ),
    ),
    "branches_of_texts": Trap(
        "texts",
        """g (float[1,8] x) => (string[1] out, float[1,8] y) <float zero = {0.0}> {
        y = MatMul (x, w)  s = ReduceSum <keepdims=0> (y)  c = Greater (s, zero)
        t = If (c) <then_branch = a () => (string[1] o1) { o1 = Constant <value_strings=["above"]> () },
          else_branch = b () => (string[1] o2) { o2 = Constant <value_strings=["below"]> () }>
        out = Identity (t) }""",
        {"w": (8, 8)},
    ),
    "loop_with_a_text": Trap(
        "texts",
        """g (float[1,8] x) => (string[1] out, float[1,8] y) <int64 n = {3}, string[1] begin = {"a"}> {
        y = MatMul (x, w)
        out = Loop (n, "", begin) <body = b (int64 i, bool go, string[1] s) => (bool on, string[1] s2) {
            on = Identity (go)  s2 = StringConcat (s, s) }> }""",
        {"w": (8, 8)},
        opset=20,
        ir=9,
    ),
}
