"""Layers: names, scopes, sharing, state."""

from __future__ import annotations

import numpy as np
import pytest

from graphc.dsl import functional as F
from graphc.dsl import nn
from graphc.dsl.tensor import Tensor, input
from graphc.dsl.trace import trace
from graphc.errors import DataError, GraphcError, GraphError, ShapeError
from graphc.graph.interpreter import interpret
from graphc.pipeline import compile_inference
from graphc.types import BATCH


def x4() -> Tensor:
    return input("x", (BATCH, 4))


def names(*outputs: Tensor) -> list[str]:
    return list(trace(outputs).parameters)


def run(tensor: Tensor, x: np.ndarray) -> np.ndarray:
    traced = trace([tensor])
    return interpret(traced.graph, {"x": x}, {n: p.value for n, p in traced.parameters.items()}).outputs[0]


class Residual(nn.Layer):
    def __init__(self, channels: int) -> None:
        self.conv = nn.Conv2d(channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + F.relu(self.conv(x))


class Tower(nn.Layer):
    def __init__(self) -> None:
        self.stem = nn.Conv2d(2, 3, name="entry")
        self.blocks = [Residual(2), Residual(2)]
        self.heads = {"a": nn.Dense(3), "b": nn.Dense(4, use_bias=False)}

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.heads["a"](x.flatten()), self.heads["b"](x.flatten())


def test_names_follow_the_structure() -> None:
    tower = Tower()
    outputs = tower(input("x", (BATCH, 1, 6, 6)))
    expected = [
        "entry.weight", "entry.bias",
        "blocks.0.conv.weight", "blocks.0.conv.bias",
        "blocks.1.conv.weight", "blocks.1.conv.bias",
        "heads.a.weight", "heads.a.bias", "heads.b.weight",
    ]  # fmt: skip
    assert names(*outputs) == expected
    assert [n for n, _ in tower.named_parameters()] == expected
    assert [p.name for p in tower.parameters()] == expected
    scopes = list(dict.fromkeys(n.scope for n in trace(outputs).graph.nodes))
    assert scopes == [
        "entry",
        "blocks.0/conv",
        "blocks.0",
        "blocks.1/conv",
        "blocks.1",
        "",
        "heads.a",
        "heads.b",
    ]


def test_sequential_names_by_position_key_or_given_name() -> None:
    y = nn.Sequential(nn.Dense(3), nn.ReLU(), F.tanh, nn.Dense(2, name="out"))(x4())
    assert names(y) == ["0.weight", "0.bias", "out.weight", "out.bias"]
    y = nn.Sequential({"features": nn.Sequential({"fc": nn.Dense(3)}), "act": nn.ReLU()}, name="net")(x4())
    assert names(y) == ["net.features.fc.weight", "net.features.fc.bias"]
    assert y.scope == "net/act"
    assert y.operands[0].scope == "net/features/fc"
    with pytest.raises(GraphError, match="two layers of the same name"):
        nn.Sequential(nn.Dense(1, name="a"), nn.Dense(1, name="a"))


def test_outermost_layers_without_a_name_are_numbered_in_the_order_of_the_graph() -> None:
    for _ in range(2):  # nothing is counted globally
        assert names(nn.Dense(2)(nn.Dense(3)(x4()))) == [
            "dense.weight", "dense.bias", "dense_1.weight", "dense_1.bias",
        ]  # fmt: skip
    x = x4()
    left, right = nn.Dense(3)(x), nn.Dense(3)(x)
    assert names(left + right) == ["dense.weight", "dense.bias", "dense_1.weight", "dense_1.bias"]
    encoder, decoder = nn.Sequential(nn.Dense(2)), nn.Sequential(nn.Dense(4))
    assert names(decoder(encoder(x))) == [
        "0.weight",
        "0.bias",
        "sequential_1.0.weight",
        "sequential_1.0.bias",
    ]
    with pytest.raises(GraphError, match=r"parameter fc\.weight has the name of another parameter"):
        names(nn.Dense(3, name="fc")(nn.Dense(3, name="fc")(x)))


def test_layers_made_within_forward_are_kept() -> None:
    class Inline(nn.Layer):
        def forward(self, x: Tensor) -> Tensor:
            return nn.Dense(2)(nn.Dense(3)(x))

    layer = Inline()
    assert names(layer(x4())) == [
        "inline.dense.weight",
        "inline.dense.bias",
        "inline.dense_1.weight",
        "inline.dense_1.bias",
    ]
    assert list(layer.state_dict()) == ["dense.weight", "dense.bias", "dense_1.weight", "dense_1.bias"]


def test_a_layer_that_is_called_twice_shares_its_weights() -> None:
    layer = nn.Dense(4, "tanh", name="cell")
    y = layer(layer(x4()))
    assert names(y) == ["cell.weight", "cell.bias"]
    x = np.linspace(-1, 1, 8, dtype=np.float32).reshape(2, 4)
    w, b = (p.value for p in layer.parameters())
    np.testing.assert_allclose(run(y, x), np.tanh(np.tanh(x @ w.T + b) @ w.T + b), rtol=1e-5)
    twice = nn.Sequential({"first": layer, "second": layer})
    assert [n for n, _ in twice.named_parameters()] == ["first.weight", "first.bias"]
    with pytest.raises(
        ShapeError, match=r"cell: weight was made as f32\[4,4\] by the first call, this call needs f32\[4,5\]"
    ):
        layer(input("z", (BATCH, 5)))


def test_dense_computes_and_checks() -> None:
    layer = nn.Dense(3, activation=nn.LeakyReLU(0.1), bias_init=0.5)
    x = np.linspace(-3, 3, 8, dtype=np.float32).reshape(2, 4)
    y = x @ layer_weight(layer, x).T + 0.5
    np.testing.assert_allclose(run(layer(x4()), x), np.where(y > 0, y, 0.1 * y), rtol=1e-5)
    with pytest.raises(ShapeError, match=r"linear: declared for 784 input features, but the input .* has 4"):
        nn.Linear(784, 3)(x4())
    assert nn.Linear(4, 3)(x4()).shape == nn.Linear(3)(x4()).shape == (BATCH, 3)
    with pytest.raises(ShapeError, match="units must be a positive integer, got 0"):
        nn.Dense(0)
    with pytest.raises(ShapeError, match="axis -1 must hold the features"):
        nn.Dense(3)(input("x", (BATCH,)))
    with pytest.raises(GraphError, match='there is no activation "rely"'):
        nn.Dense(3, "rely")


def layer_weight(layer: nn.Layer, x: np.ndarray) -> np.ndarray:
    layer(x4())
    return dict(layer.named_parameters())["weight"].value


def test_each_layer_is_its_function() -> None:
    image = np.linspace(-2, 2, 32, dtype=np.float32).reshape(1, 2, 4, 4)
    x = input("x", (BATCH, 2, 4, 4))
    for layer, expected in (
        (nn.MaxPool2d(2), F.max_pool2d(x, 2)),
        (nn.MaxPool2d(3, 1, 1), F.max_pool2d(x, 3, stride=1, padding=1)),
        (nn.AvgPool2d(3, 1, 1), F.avg_pool2d(x, 3, stride=1, padding=1)),
        (nn.Flatten(), x.flatten()),
        (nn.Unflatten(1, (2, -1)), x.reshape((BATCH, 2, 1, 4, 4))),
        (nn.UpsamplingNearest2d(scale_factor=2), F.interpolate(x, scale_factor=2)),
        (nn.UpsamplingBilinear2d((3, 7)), F.interpolate(x, (3, 7), mode="bilinear", align_corners=True)),
        (
            nn.Sequential(lambda t: (t, F.roll(t, 1, -1)), lambda p: nn.PairwiseDistance(1, keepdims=True)(*p)),
            F.pairwise_distance(x, F.roll(x, 1, -1), 1, keepdims=True),
        ),
        (nn.Identity(), x),
        (nn.ReLU(), F.relu(x)),
        (nn.LeakyReLU(0.3), F.leaky_relu(x, 0.3)),
        (nn.Sigmoid(), F.sigmoid(x)),
        (nn.Tanh(), F.tanh(x)),
        (nn.Softplus(2.0), F.softplus(x, 2.0)),
        (nn.Softmax(axis=1), F.softmax(x, axis=1)),
        (nn.LogSoftmax(axis=1, temperature=2.0), F.log_softmax(x, axis=1, temperature=2.0)),
        (nn.Function(lambda t: t * 2), x * 2),
    ):
        np.testing.assert_array_equal(run(layer(x), image), run(expected, image))


def test_state_goes_out_and_in() -> None:
    source, target = (nn.Sequential(nn.Dense(3, "relu"), nn.Dense(2)) for _ in range(2))
    source(x4())
    target(x4())
    for k, p in enumerate(source.parameters()):
        p.value = np.full(p.shape, k + 1.0)
    state = source.state_dict()
    assert list(state) == ["0.weight", "0.bias", "1.weight", "1.bias"]
    state["0.weight"][:] = 9  # copies
    assert (source.parameters()[0].value == 1).all()
    target.load_state_dict(source.state_dict())
    assert [float(p.value.max()) for p in target.parameters()] == [1, 2, 3, 4]


def test_state_that_does_not_fit_changes_nothing_and_says_what() -> None:
    model = nn.Sequential(nn.Dense(3), nn.Dense(2))
    model(x4())
    before = model.state_dict()
    state = {
        "0.weight": np.ones((3, 4)),
        "0.bias": np.ones(3),
        "1.weight": np.ones((2, 2)),
        "2.bias": np.ones(2),
    }
    with pytest.raises(DataError) as caught:
        model.load_state_dict(state)
    assert caught.value.message == (
        "the state does not fit: missing: 1.bias; unexpected: 2.bias; 1.weight: expected (2, 3), got (2, 2)"
    )
    with pytest.raises(DataError, match=r"the state does not fit: 1.weight: expected \(2, 3\), got \(2, 2\)"):
        model.load_state_dict(state, strict=False)
    assert all((before[n] == a).all() for n, a in model.state_dict().items())
    del state["1.weight"]
    model.load_state_dict(state, strict=False)
    assert (model.parameters()[0].value == 1).all()
    assert (model.parameters()[2].value == before["1.weight"]).all()


def test_a_list_of_layers_in_a_loop_just_builds_graph() -> None:
    h = x4()
    for layer in [nn.Dense(5, "tanh") for _ in range(3)]:
        h = layer(h)
    assert len(names(h)) == 6
    assert len({p.name for p in trace([h]).parameters.values()}) == 6


def test_what_has_no_forward_cannot_be_called() -> None:
    class Empty(nn.Layer):
        pass

    with pytest.raises(GraphError, match="Empty does not define forward"):
        Empty()(x4())
    with pytest.raises(GraphError, match="needs a tensor, got ndarray"):
        nn.Dense(3)(np.ones((2, 4)))


@pytest.mark.parametrize("mode", ["sum", "mean"])
@pytest.mark.parametrize("padding", [None, 2])
def test_bags_of_embeddings_are_those_of_torch(mode: str, padding: int | None) -> None:
    torch = pytest.importorskip("torch")
    bags = np.array([[0, 2, 1], [2, 2, 2], [4, 4, 0]])
    theirs = torch.nn.EmbeddingBag(5, 3, mode=mode, padding_idx=padding, dtype=torch.float64)
    ours = nn.EmbeddingBag(5, 3, mode, padding, dtype="float64")
    y = ours(input("i", (BATCH, 3), "int64"))
    (weight,) = ours.parameters()
    weight.value = theirs.weight.detach().numpy()
    found = compile_inference(y)(i=bags)
    np.testing.assert_allclose(found, theirs(torch.tensor(bags)).detach().numpy(), rtol=1e-12, atol=1e-15)


def test_bags_know_two_modes() -> None:
    with pytest.raises(GraphcError, match='mode must be "sum" or "mean", got \'max\''):
        nn.EmbeddingBag(5, 3, "max")
