"""Windows in the DSL: random geometries with their gradients against torch, layers, and the sentences for bad ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphc import nn
from graphc.dsl import functional as F
from graphc.dsl.tensor import Tensor, input
from graphc.dsl.trace import trace
from graphc.errors import GraphError, ShapeError
from graphc.graph.interpreter import interpret
from graphc.pipeline import compile_inference
from graphc.types import BATCH
from tests.native import Native, with_gradients

Array = np.ndarray
Shape = tuple[int, ...]


def check(ours: Callable[..., Tensor], theirs: Callable[..., Any], *shapes: Shape, native: bool = False) -> None:
    """The value and every gradient of a function of tensors, in float64: here by the interpreter, and by torch."""
    torch = pytest.importorskip("torch")
    random = np.random.default_rng(shapes[0])
    arrays = {f"x{k}": random.uniform(-2, 2, shape) for k, shape in enumerate(shapes)}
    leaves = [torch.tensor(a, requires_grad=True) for a in arrays.values()]
    expected = theirs(*leaves)
    y = ours(*[input(name, a.shape, "float64") for name, a in arrays.items()])
    assert y.shape == tuple(expected.shape)
    cotangent = random.uniform(-1, 1, y.shape)
    (expected * torch.tensor(cotangent)).sum().backward()
    graph = with_gradients(trace(y).graph)
    given = {**arrays, "cotangent": cotangent}
    found = Native(graph)(given) if native else interpret(graph, given, {}, 1).outputs
    wanted = [expected.detach().numpy(), *[leaf.grad.numpy() for leaf in leaves]]
    by_name = dict(zip([v.name for v in graph.inputs if v.name != "cotangent"], found[1:], strict=True))
    for name, a, b in zip(("value", *arrays), (found[0], *[by_name[n] for n in arrays]), wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12, err_msg=name)


def functional() -> Any:
    return pytest.importorskip("torch").nn.functional


@st.composite
def geometries(draw: st.DrawFn, transposed: bool = False) -> tuple[int, Shape, Shape, dict[str, Any]]:
    """(axes, shape of the input, shape of the weight, options) that fit each other."""
    count = draw(st.integers(1, 3))

    def each(low: int, high: int) -> tuple[int, ...]:
        return tuple(draw(st.integers(low, high)) for _ in range(count))

    stride, padding, dilation, kernel = each(1, 3), each(0, 2), each(1, 2), each(1, 3)
    groups, inside, outside = draw(st.sampled_from([(1, 2, 3), (1, 1, 1), (2, 1, 2), (2, 2, 1), (3, 1, 1), (2, 2, 2)]))
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    options: dict[str, Any] = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    if transposed:
        padding = options["padding"] = tuple(min(p, (r - 1) // 2) for p, r in zip(padding, reach, strict=True))
        options["output_padding"] = tuple(
            draw(st.integers(0, max(s, d) - 1)) for s, d in zip(stride, dilation, strict=True)
        )
        image = each(1, 4)
        return count, (2, groups * inside, *image), (groups * inside, outside, *kernel), options
    image = tuple(max(1, r - 2 * p) + draw(st.integers(0, 4)) for r, p in zip(reach, padding, strict=True))
    return count, (2, groups * inside, *image), (groups * outside, inside, *kernel), options


def both(name: str, **options: Any) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """A function of this name, here and in torch."""
    return (lambda *t: getattr(F, name)(*t, **options)), (lambda *t: getattr(functional(), name)(*t, **options))


@settings(max_examples=30, deadline=None)
@given(geometries())
def test_convolutions_and_their_gradients(geometry: Any) -> None:
    count, x, w, options = geometry
    check(*both(f"conv{count}d", **options), x, w, w[:1])


@settings(max_examples=30, deadline=None)
@given(geometries(transposed=True))
def test_transposed_convolutions_and_their_gradients(geometry: Any) -> None:
    count, x, w, options = geometry
    check(*both(f"conv_transpose{count}d", **options), x, w, (w[1] * options["groups"],))


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_pooling_and_its_gradients(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 3))
    kernel, stride = (tuple(data.draw(st.integers(1, 3)) for _ in range(count)) for _ in range(2))
    padding = tuple(data.draw(st.integers(0, k // 2)) for k in kernel)
    image = tuple(data.draw(st.integers(max(1, k - 2 * p), 6)) for k, p in zip(kernel, padding, strict=True))
    kind = data.draw(st.sampled_from(["max", "avg", "lp", "adaptive_avg", "adaptive_max"]))
    name, options = f"{kind}_pool{count}d", {"ceil_mode": data.draw(st.booleans())}
    if kind.startswith("adaptive"):
        arguments: tuple[Any, ...] = (tuple(data.draw(st.integers(1, 7)) for _ in range(count)),)
        options = {}
    elif kind == "lp":
        arguments = (2, kernel, stride) if count > 1 else (2, *kernel, *stride)
        image = tuple(map(max, image, kernel))
    else:
        arguments = (kernel, stride, padding)
        if kind == "avg":
            image = tuple(map(max, image, kernel))  # torch's own limit, for volumes
            options["count_include_pad"] = data.draw(st.booleans())
    check(
        lambda x: getattr(F, name)(x, *arguments, **options),
        lambda x: getattr(functional(), name)(x, *arguments, **options),
        (2, 2, *image),
    )


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_padding_in_all_modes(data: st.DataObject) -> None:
    image = tuple(data.draw(st.integers(1, 5)) for _ in range(data.draw(st.integers(1, 2))))
    mode = data.draw(st.sampled_from(["constant", "reflect", "replicate", "circular"]))
    most = {"constant": [3] * 2, "reflect": [e - 1 for e in image], "replicate": [3] * 2, "circular": image}[mode]
    ends = tuple(data.draw(st.integers(0, m)) for _, m in zip(image, most, strict=False) for _ in range(2))
    padding = tuple(p for k in reversed(range(len(image))) for p in ends[2 * k : 2 * k + 2])
    value = data.draw(st.sampled_from([0.0, 0.1])) if mode == "constant" else 0.0
    options = {"value": value} if value else {}
    check(
        lambda x: F.pad(x, padding, mode, **options),
        lambda x: functional().pad(x, padding, mode, **options),
        (2, 2, *image),
    )


MODES = {1: ["linear"], 2: ["bilinear", "bicubic"], 3: ["trilinear"]}


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_interpolation_to_any_size(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 3))
    image, size = (tuple(data.draw(st.integers(1, 7)) for _ in range(count)) for _ in range(2))
    mode = data.draw(st.sampled_from([*MODES[count], "nearest-exact", "area"]))
    options: dict[str, Any] = {"mode": mode}
    if mode in MODES[count]:
        options["align_corners"] = data.draw(st.booleans())
    if data.draw(st.booleans()) and mode != "area":
        options["scale_factor"] = tuple(data.draw(st.sampled_from([1.0, 1.5, 2.0, 3.0])) for _ in image)
    else:
        options["size"] = size
    check(lambda x: F.interpolate(x, **options), lambda x: functional().interpolate(x, **options), (1, 2, *image))


def test_windows_as_columns_and_back() -> None:
    options = {"dilation": (1, 2), "padding": 1, "stride": (2, 1)}
    check(lambda x: F.unfold(x, (2, 3), **options), lambda x: functional().unfold(x, (2, 3), **options), (2, 3, 6, 5))
    check(
        lambda x: F.fold(x, (6, 5), (2, 3), **options),
        lambda x: functional().fold(x, (6, 5), (2, 3), **options),
        (2, 18, 12),
    )


def test_unpooled_maxima_and_their_gradient() -> None:
    torch = functional()
    check(
        lambda x: F.max_unpool2d(*F.max_pool2d(x, 2, return_indices=True), 2, output_size=(5, 7)),
        lambda x: torch.max_unpool2d(*torch.max_pool2d(x, 2, return_indices=True), 2, output_size=(5, 7)),
        (2, 3, 5, 7),
    )


def test_native_code_of_what_is_composed() -> None:
    torch = functional()
    check(lambda x, w, b: F.conv2d(x, w, b, padding=1, groups=2), lambda x, w, b: torch.conv2d(x, w, b, 1, 1, 1, 2),
          (2, 4, 5, 6), (6, 2, 3, 3), (6,), native=True)  # fmt: skip
    check(lambda x: F.interpolate(F.pad(x, (1, 2, 0, 0), "reflect"), (7, 4), mode="bicubic"),
          lambda x: torch.interpolate(torch.pad(x, (1, 2, 0, 0), "reflect"), (7, 4), mode="bicubic"),
          (1, 2, 5, 4), native=True)  # fmt: skip


def test_slopes_of_a_ramp_and_of_nothing() -> None:
    y, x = np.mgrid[0:5, 0:6].astype(np.float32)
    ramp = (2 * x + 3 * y)[None, None]
    image = input("image", (BATCH, 1, 5, 6))
    for filter, weight in ((F.sobel, 4), (F.prewitt, 3), (F.scharr, 16)):
        dx, dy = compile_inference(filter(image, padding_mode=None))(image=ramp)
        assert (dx == 2 * 2 * weight).all()
        assert (dy == 3 * 2 * weight).all()
    steep = compile_inference(F.gradient_magnitude(image))(image=ramp)
    np.testing.assert_allclose(steep[0, 0, 2, 2], np.hypot(16, 24), rtol=1e-6)
    flat = input("flat", (1, 1, 3, 3), "float64")
    graph = with_gradients(trace(F.gradient_magnitude(flat)).graph)
    given = {"flat": np.ones((1, 1, 3, 3)), "cotangent": np.ones((1, 1, 3, 3))}
    assert all((a == 0).all() for a in interpret(graph, given, {}, 1).outputs)


# -------------------------------------------------------------------------------------------------- layers


def parameters(layer: nn.Layer, *shape: Any) -> dict[str, tuple[Any, ...]]:
    layer(input("x", (BATCH, *shape)))
    return {name: p.shape for name, p in layer.named_parameters()}


@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "circular"])
@pytest.mark.parametrize("padding", [(1, 2), "same"])
@pytest.mark.filterwarnings("ignore:Using padding='same'")
def test_padding_modes_of_a_layer(mode: str, padding: Any) -> None:
    torch = pytest.importorskip("torch")
    options = {"padding": padding, "padding_mode": mode, "dilation": (2, 1)}
    theirs, layer = torch.nn.Conv2d(2, 3, (3, 4), dtype=torch.float64, **options), nn.Conv2d(2, 3, (3, 4), **options)
    x = np.random.default_rng(3).normal(size=(2, 2, 5, 6))
    graph = trace(layer(input("x", x.shape, "float64"))).graph
    values = {p.name: theirs.get_parameter(name).detach().numpy() for name, p in layer.named_parameters()}
    (got,) = interpret(graph, {"x": x}, values, 1).outputs
    np.testing.assert_allclose(got, theirs(torch.tensor(x)).detach().numpy(), rtol=1e-10)


def test_numbers_by_position_are_read_as_torch_or_keras_does() -> None:
    two = nn.Conv2d(5, 3, name="c")
    assert parameters(two, 4, 6, 6) == {"weight": (5, 4, 3, 3), "bias": (5,)}
    for layer in (
        nn.Conv2d(4, 6, 3, 2, 1, 1, 2),
        nn.Conv2d(4, 6, kernel_size=3, stride=2, padding=1, groups=2),
        nn.Conv2d(in_channels=4, out_channels=6, kernel_size=3, stride=2, padding=1, groups=2),
        nn.Conv2d(6, 3, stride=2, padding=1, groups=2),
    ):
        assert parameters(layer, 4, 6, 6) == {"weight": (6, 2, 3, 3), "bias": (6,)}
        assert layer(input("x", (BATCH, 4, 6, 6))).shape == (BATCH, 6, 3, 3)
    assert parameters(nn.Conv2d(4, 6, 3, bias=False), 4, 6, 6) == {"weight": (6, 4, 3, 3)}
    transposed = nn.ConvTranspose2d(4, 6, 3, 2, 1, 1, 2)
    assert parameters(transposed, 4, 5, 5) == {"weight": (4, 3, 3, 3), "bias": (6,)}
    assert transposed(input("x", (BATCH, 4, 5, 5))).shape == (BATCH, 6, 10, 10)
    with pytest.raises(ShapeError, match=r"declared for in_channels=16, but the input \(N, 3, 8, 8\) has 3") as caught:
        nn.Conv2d(16, 3, 2)(input("x", (BATCH, 3, 8, 8)))
    assert caught.value.hint == (
        "write Conv2d(3, 2), which takes the number from its input, "
        "or Conv2d(16, 3, stride=2) if 2 was to be the stride"
    )
    for arguments, options in (
        ((16,), {}),
        ((1, 2, 3, 4, 5, 6, 7, 8), {}),
        ((16, 3), {"strides": 2}),
        ((4, 6, 3), {"kernel_size": 3}),
    ):
        with pytest.raises(
            GraphError, match=r"Conv2d takes \(channels, kernel_size\) or \(in_channels, out_channels, "
        ):
            nn.Conv2d(*arguments, **options)
    with pytest.raises(ShapeError, match="Conv2d: 3 groups do not divide in_channels=4"):
        nn.Conv2d(4, 6, 3, groups=3)
    with pytest.raises(GraphError, match="there is no padding_mode 'mirror'"):
        nn.Conv2d(4, 3, padding_mode="mirror")


def test_layers_have_the_shapes_of_torch() -> None:
    torch = pytest.importorskip("torch").nn
    for name, sizes, image in (
        ("Conv1d", (4, 6, 3), (9,)),
        ("Conv3d", (2, 3, 2), (3, 4, 3)),
        ("ConvTranspose1d", (4, 6, 3), (5,)),
        ("ConvTranspose3d", (2, 3, 2), (3, 2, 3)),
    ):
        expected = getattr(torch, name)(*sizes, stride=2)
        layer = getattr(nn, name)(*sizes, stride=2)
        shapes = {n: tuple(p.shape) for n, p in expected.named_parameters()}
        assert parameters(layer, sizes[0], *image) == shapes, name


def test_depthwise_and_separable_convolutions() -> None:
    depthwise = nn.DepthwiseConv2d(3, 2, padding=1)
    assert parameters(depthwise, 4, 6, 5) == {"weight": (8, 1, 3, 3), "bias": (8,)}
    separable = nn.SeparableConv2d(7, 3, stride=2, padding=1, activation="relu")
    assert parameters(separable, 4, 6, 5) == {
        "depthwise.weight": (4, 1, 3, 3), "pointwise.weight": (7, 4, 1, 1), "pointwise.bias": (7,),
    }  # fmt: skip
    assert separable(input("x", (BATCH, 4, 6, 5))).shape == (BATCH, 7, 3, 3)


def test_each_layer_is_its_function() -> None:
    image, volume, line = (np.random.default_rng(1).normal(size=s) for s in ((2, 4, 6, 8), (1, 2, 4, 4, 4), (2, 4, 8)))
    cases: list[tuple[nn.Layer, Callable[..., Any], Array]] = [
        (nn.MaxPool1d(2), lambda x: F.max_pool1d(x, 2), line),
        (nn.MaxPool2d(3, 2, 1, ceil_mode=True), lambda x: F.max_pool2d(x, 3, 2, 1, ceil_mode=True), image),
        (nn.MaxPool3d(2), lambda x: F.max_pool3d(x, 2), volume),
        (nn.AvgPool1d(2, 1), lambda x: F.avg_pool1d(x, 2, 1), line),
        (nn.AvgPool2d(3, 2, 1, True, False), lambda x: F.avg_pool2d(x, 3, 2, 1, True, False), image),
        (nn.AvgPool3d(2, divisor_override=3), lambda x: F.avg_pool3d(x, 2, divisor_override=3), volume),
        (nn.LPPool1d(2, 2), lambda x: F.lp_pool1d(x, 2, 2), line),
        (nn.LPPool2d(2, 2), lambda x: F.lp_pool2d(x, 2, 2), image),
        (nn.LPPool3d(2, 2), lambda x: F.lp_pool3d(x, 2, 2), volume),
        (nn.AdaptiveAvgPool1d(3), lambda x: F.adaptive_avg_pool1d(x, 3), line),
        (nn.AdaptiveAvgPool2d((4, None)), lambda x: F.adaptive_avg_pool2d(x, (4, None)), image),
        (nn.AdaptiveAvgPool3d(3), lambda x: F.adaptive_avg_pool3d(x, 3), volume),
        (nn.AdaptiveMaxPool1d(3), lambda x: F.adaptive_max_pool1d(x, 3), line),
        (nn.AdaptiveMaxPool2d(4), lambda x: F.adaptive_max_pool2d(x, 4), image),
        (nn.AdaptiveMaxPool3d(3), lambda x: F.adaptive_max_pool3d(x, 3), volume),
        (nn.GlobalAveragePool1d(), lambda x: x.mean(2), line),
        (nn.GlobalAveragePool2d(), lambda x: x.mean((2, 3)), image),
        (nn.GlobalAveragePool3d(), lambda x: x.mean((2, 3, 4)), volume),
        (nn.GlobalMaxPool1d(), lambda x: x.max(2), line),
        (nn.GlobalMaxPool2d(), lambda x: x.max((2, 3)), image),
        (nn.GlobalMaxPool3d(), lambda x: x.max((2, 3, 4)), volume),
        (nn.ConstantPad1d(2, 0.5), lambda x: F.pad(x, (2, 2), value=0.5), line),
        (nn.ConstantPad2d((1, 0, 2, 1), 0.5), lambda x: F.pad(x, (1, 0, 2, 1), value=0.5), image),
        (nn.ConstantPad3d(1, 0.5), lambda x: F.pad(x, (1,) * 6, value=0.5), volume),
        (nn.ZeroPad1d(1), lambda x: F.pad(x, (1, 1)), line),
        (nn.ZeroPad2d(1), lambda x: F.pad(x, (1,) * 4), image),
        (nn.ZeroPad3d(1), lambda x: F.pad(x, (1,) * 6), volume),
        (nn.ReflectionPad1d(2), lambda x: F.pad(x, (2, 2), "reflect"), line),
        (nn.ReflectionPad2d((1, 2, 0, 1)), lambda x: F.pad(x, (1, 2, 0, 1), "reflect"), image),
        (nn.ReflectionPad3d(1), lambda x: F.pad(x, (1,) * 6, "reflect"), volume),
        (nn.ReplicationPad1d(2), lambda x: F.pad(x, (2, 2), "replicate"), line),
        (nn.ReplicationPad2d(1), lambda x: F.pad(x, (1,) * 4, "replicate"), image),
        (nn.ReplicationPad3d(1), lambda x: F.pad(x, (1,) * 6, "replicate"), volume),
        (nn.CircularPad1d(2), lambda x: F.pad(x, (2, 2), "circular"), line),
        (nn.CircularPad2d(1), lambda x: F.pad(x, (1,) * 4, "circular"), image),
        (nn.CircularPad3d(1), lambda x: F.pad(x, (1,) * 6, "circular"), volume),
        (nn.Unfold(2, stride=2), lambda x: F.unfold(x, 2, stride=2), image),
        (nn.Sequential(nn.Unfold(2), nn.Fold((6, 8), 2)), lambda x: F.fold(F.unfold(x, 2), (6, 8), 2), image),
        (nn.Upsample(scale_factor=2, mode="bilinear"), lambda x: F.interpolate(x, None, 2, "bilinear"), image),
        (nn.PixelShuffle(2), lambda x: F.pixel_shuffle(x, 2), image),
        (nn.PixelUnshuffle(2), lambda x: F.pixel_unshuffle(x, 2), image),
        (nn.ChannelShuffle(2), lambda x: F.channel_shuffle(x, 2), image),
    ]
    for layer, function, array in cases:
        x = input("x", array.shape, "float64")
        graphs = [trace(y).graph for y in (layer(x), function(x))]
        got, expected = (interpret(g, {"x": array}, {}, 1).outputs[0] for g in graphs)
        np.testing.assert_array_equal(got, expected, err_msg=repr(layer))
    for suffix, array in (("1d", line), ("2d", image), ("3d", volume)):
        x = input("x", array.shape, "float64")
        pooled, places = getattr(nn, f"MaxPool{suffix}")(2, return_indices=True)(x)
        y = getattr(nn, f"MaxUnpool{suffix}")(2)(pooled, places)
        restored = interpret(trace(y).graph, {"x": array}, {}, 1).outputs[0]
        assert ((restored == array) | (restored == 0)).all()
        assert (restored != 0).sum() == np.prod(pooled.shape)


@pytest.mark.parametrize(
    ("build", "error"),
    [
        (lambda x: F.pad(x, (5, 0), "reflect"), "reflect padding of 5 elements needs more than the 4 of axis 3"),
        (lambda x: F.pad(x, (1, 0), "reflect", 2.0), "pad: a value has no meaning in mode 'reflect', got 2.0"),
        (lambda x: F.pad(x, (1,), "circular"), r"pad: padding must hold \(before, after\) for at most 4 axes"),
        (
            lambda x: F.interpolate(x, 5, mode="linear"),
            "no mode 'linear' for inputs with 4 axes\n  hint: use near",
        ),
        (lambda x: F.interpolate(x, 5, 2.0), "interpolate: give either size or scale_factor"),
        (lambda x: F.interpolate(x, scale_factor=0.3), "of the height 3 at the scale 0.3\n  hint: use at least 1/3"),
        (lambda x: F.interpolate(x, scale_factor=-1), "scale_factor must be a positive number for each axis, got -1"),
        (lambda x: F.interpolate(x, 5, align_corners=True), "align_corners has no meaning in mode 'nearest'"),
        (lambda x: F.fold(x, 4, 2), r"fold: windows of \(2, 2\) need inputs \(n, channels·4, pos"),
        (lambda x: F.fold(F.unfold(x, 2), (4, 4), 2), r"images of \(4, 4\) have 9 windows, the input .* holds 6"),
        (
            lambda x: nn.MaxPool2d(5)(x),
            "kernel 5 is larger than the input 3 along the height\n  hint: use padding=1 or",
        ),
    ],
)
def test_errors_tell_what_to_do_instead(build: Callable[[Tensor], Any], error: str) -> None:
    with pytest.raises(ShapeError, match=error) as caught:
        build(input("x", (BATCH, 2, 3, 4)))
    assert caught.value.location is not None
    assert caught.value.location.file == __file__
