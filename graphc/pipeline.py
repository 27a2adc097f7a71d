"""The compiler's table of contents: from tensors to native code, stage by stage.

trace          the user's tensors as a Graph
GRAPH          rewrites on formulas; stability first
differentiate  adjoint formulas, reverse accumulation          training only
update         the optimiser's formulas                        training only
specialise     only what the outputs need                      inference only
SCHEDULE       kernels, layouts, buffers                       Graph   -> Program
LOOPS          loops, lanes, registers, polynomials            Program -> Step
emit, compile  LLVM IR, machine code                           Step    -> Executable
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

from graphc.autodiff.backward import gradients
from graphc.build import build
from graphc.codegen.llvm import emit
from graphc.codegen.target import host
from graphc.dsl.tensor import Tensor
from graphc.dsl.trace import Traced, trace
from graphc.errors import GraphError
from graphc.graph.builder import Builder
from graphc.graph.ir import Graph, Value
from graphc.graph.passes.apply_winograd import Policy, apply_winograd
from graphc.graph.passes.canonicalise import canonicalise
from graphc.graph.passes.eliminate_common_subexpressions import eliminate_common_subexpressions
from graphc.graph.passes.eliminate_dead_code import eliminate_dead_code
from graphc.graph.passes.fold_constants import fold_constants
from graphc.graph.passes.hoist_invariants import hoist_invariants
from graphc.graph.passes.keep_factors import keep_factors
from graphc.graph.passes.read_through_selections import read_through_selections
from graphc.graph.passes.recompute import recompute
from graphc.graph.passes.recompute_matrices import recompute_matrices
from graphc.graph.passes.shift_exponential_sums import shift_exponential_sums
from graphc.graph.passes.specialise_for_inference import specialise_for_inference
from graphc.graph.passes.stabilise_composites import stabilise_composites
from graphc.graph.verifier import verify as verify_graph
from graphc.loops.borders import clear_border
from graphc.loops.chains import lower_chain
from graphc.loops.expand import expand_transcendentals
from graphc.loops.interleave import interleave
from graphc.loops.ir import Function, Step
from graphc.loops.link import link
from graphc.loops.lower import lower
from graphc.loops.unroll import unroll
from graphc.loops.vectorise import vectorise
from graphc.loops.verifier import verify as verify_loops
from graphc.passes import Named, Observer, run
from graphc.programs import InferenceProgram, TrainingProgram
from graphc.runtime.threads import default_threads
from graphc.schedule.buffers import assign_buffers
from graphc.schedule.chains import RUN, form_chains
from graphc.schedule.fuse import fuse, value_name, with_own_copies, with_own_names
from graphc.schedule.layout import plan_layouts
from graphc.schedule.program import Kernel, Program
from graphc.schedule.rows import form_rows
from graphc.schedule.sources import read_sources
from graphc.schedule.split import split_reductions
from graphc.schedule.stack import stack_sums
from graphc.study.compiled import Compiled
from graphc.study.dump import dump_from_environment
from graphc.target import Target
from graphc.train.guard import Guard, guard_gradients
from graphc.train.metrics.metric import Measured, check_result, statistics_of
from graphc.train.optimisers import SGD, Optimizer
from graphc.train.optimisers.trainable import Patterns, trained
from graphc.train.optimisers.updating import update
from graphc.train.second_order.minimiser import Minimiser

STABLE = (
    stabilise_composites,  # log(softmax(x)), 1/(1+exp(-x)), ... in their stable forms, whatever operators they span
    shift_exponential_sums,  # sums of exponentials relative to their maximum
)
SIMPLE = (
    canonicalise,  # transposes and reshapes composed
    fold_constants,  # constants and copies disappear into their readers
    eliminate_common_subexpressions,
    eliminate_dead_code,
)
AGAIN = (
    keep_factors,  # what the backward part makes of forward values alone, where these are made
    recompute_matrices,  # large products of small operands, row by row
    recompute,  # cheap large values
)


def training_passes(
    optimizer: Optimizer, trainable: Sequence[str], target: Target, winograd: Policy = "auto", guard: Guard = "loss"
) -> tuple[Named, ...]:
    """The stages of TRAINING: forward, backward and update as one step."""
    guarding = [Named("guard_gradients", lambda graph: guard_gradients(graph, len(trainable)))]
    return (
        *map(_named, STABLE),
        *map(_named, SIMPLE),
        Named("differentiate", lambda graph: differentiate(graph, trainable)),
        *(guarding if guard == "gradients" else []),
        Named(
            "update",
            lambda graph: update(graph, optimizer, trainable),
            lambda graph: _updates_alone(graph, optimizer, trainable),
        ),
        *[Named(f"{p.__name__}_again", p) for p in (*STABLE, *SIMPLE)],
        *lowering_passes(target, winograd, tuple(map(_named, AGAIN))),
    )


def inference_passes(target: Target, winograd: Policy = "auto") -> tuple[Named, ...]:
    """The stages of INFERENCE: no gradient, nothing saved for one, constants folded."""
    return (
        *map(_named, STABLE),
        Named("specialise_for_inference", specialise_for_inference),
        *map(_named, SIMPLE),
        *lowering_passes(target, winograd),
    )


def lowering_passes(
    target: Target, winograd: Policy = "auto", with_backward: Sequence[Named] = ()
) -> tuple[Named, ...]:
    """From a Graph to LLVM IR: the same for both, but for the passes `with_backward`."""
    return (
        Named("apply_winograd", lambda graph: apply_winograd(graph, target, winograd, RUN)),
        Named("read_through_selections", read_through_selections),
        Named("hoist_invariants", hoist_invariants),
        *with_backward,
        Named("fuse", _Scheduled.of),
        Named("form_rows", lambda s: s.then(form_rows(s.kernels, s.lasting, target))),
        Named("form_chains", lambda s: s.then(form_chains(s.kernels, s.lasting, target))),
        Named("split_reductions", lambda s: s.then(split_reductions(s.kernels))),
        Named("stack_sums", lambda s: s.then(stack_sums(s.kernels))),
        Named("plan_layouts", lambda s: plan_layouts(s.graph, s.kernels, target)),
        Named("read_sources", read_sources),
        Named("assign_buffers", assign_buffers),
        Named("lower", lambda program: _lower(program, target)),
        Named("vectorise", lambda step: _each(step, vectorise)),
        Named("unroll", lambda step: _each(step, unroll)),
        Named("expand_transcendentals", lambda step: _each(step, expand_transcendentals)),
        Named("interleave", lambda step: _each(step, interleave)),
        Named("emit", lambda step: emit(step, target)),
    )


# ------------------------------------------------------------------------------------------ stage crossings


def differentiate(graph: Graph, trainable: Sequence[str]) -> Graph:
    """The graph with the gradients of its first output as further outputs, one for each trainable parameter."""
    wrt = _parameters(graph, trainable)
    extended, grads = gradients(graph, graph.outputs[0], wrt)
    return replace(extended, outputs=(*graph.outputs, *grads))


def _updates_alone(graph: Graph, optimizer: Optimizer, trainable: Sequence[str]) -> Graph:
    """The updates for gradients that are inputs: what an optimiser does, without derivatives."""
    builder = Builder(graph)
    pretended = [builder.input(f"gradient of {p.name}", p.type) for p in _parameters(graph, trainable)]
    return update(builder.graph((*graph.outputs, *pretended), graph.updates), optimizer, trainable)


def _parameters(graph: Graph, names: Sequence[str]) -> tuple[Value, ...]:
    by_name = {p.name: p for p in graph.parameters}
    return tuple(by_name[n] for n in names)


@dataclass(frozen=True, slots=True)
class _Scheduled:
    """Kernels that are not laid out yet, with the graph that they came from."""

    graph: Graph
    kernels: tuple[Any, ...]

    @staticmethod
    def of(graph: Graph) -> _Scheduled:
        graph = with_own_copies(with_own_names(graph))
        return _Scheduled(graph, fuse(graph))

    @property
    def lasting(self) -> frozenset[str]:
        """The names of parameters and outputs."""
        return frozenset(map(value_name, (*self.graph.parameters, *self.graph.outputs)))

    def then(self, kernels: tuple[Any, ...]) -> _Scheduled:
        return self if kernels == self.kernels else _Scheduled(self.graph, kernels)

    def __str__(self) -> str:
        from graphc.schedule.printer import kernel_text

        return "\n".join(kernel_text(k) for k in self.kernels) + "\n"


def _lower(program: Program, target: Target) -> Step:
    memories = {m.name: m for m in program.memories}

    def lowered(unit: Sequence[Kernel]) -> Function:
        return lower_chain(unit, memories, target) if unit[0].chain else lower(unit[0], memories, target)

    return link(program, lowered, lambda memory: clear_border(memory, target))


def _each(step: Step, change: Callable[[Function], Function]) -> Step:
    functions = tuple(change(f) for f in step.functions)
    return step if functions == step.functions else replace(step, functions=functions)


def _named(p: Callable[[Any], Any]) -> Named:
    return Named(p.__name__, p)


def verify(ir: Any, stage: str) -> None:
    """Check that an IR is a sentence of its language. Raises VerificationError."""
    match ir:
        case Graph():
            verify_graph(ir, stage)
        case Step():
            verify_loops(ir)


# ---------------------------------------------------------------------------------------------- compilation


def compile_training(
    loss: Tensor,
    *,
    optimizer: Optimizer | Minimiser | None = None,
    outputs: Any = None,
    trainable: Patterns = None,
    metrics: Mapping[str, Measured] | None = None,
    threads: int | None = None,
    winograd: Policy = "auto",
    seed: int | None = None,
    guard: Guard = "loss",
    observers: Sequence[Observer] = (),
    stop_after: str | None = None,
) -> Any:
    """Compile forward, backward, update, loss and metrics into one native call.

    `loss` is a scalar; `metrics` are what else to report: tensors without a batch axis, means over the batch where they
    are to be averaged, or a `Metric` each. Parameters are updated in place and shared with every other program that
    uses them. With `stop_after` the result is that stage's IR instead of a program.
    `outputs` are what the loss is a function of: only Gauss-Newton and Levenberg-Marquardt want to know.
    `trainable` are patterns of dotted names ("head.*"): no other parameter is trained, nor has it any backward code.
    A step whose loss is not finite changes nothing; with `guard="gradients"` nor does one with such a gradient.
    Raises GraphError for a loss that is not a scalar, DerivativeError where there is no derivative.
    """
    if isinstance(optimizer, Minimiser):
        options = {"outputs": outputs, "metrics": metrics, "trainable": trainable, "threads": threads, "seed": seed}
        return optimizer.compile(loss, **options, stop_after=stop_after)
    if not isinstance(optimizer, Optimizer | None):
        raise GraphError(f"optimizer is {optimizer!r}, expected an Optimizer", hint="optimizer=gc.Adam(1e-3)")
    start = perf_counter()
    measured: dict[str, Measured] = {"loss": loss, **(metrics or {})}
    if metrics and "loss" in metrics:
        raise GraphError('a metric cannot be named "loss"')
    wanted = statistics_of(measured)
    if loss.shape:
        raise GraphError(
            f"loss must be a scalar, got shape {loss.shape}", location=loss.location,
            layer=loss.scope, hint="reduce it with .mean() or .sum()",
        )  # fmt: skip
    for name, tensor in wanted.items():
        check_result(name, tensor)
    traced = trace(wanted, training=True)
    optimizer = optimizer if optimizer is not None else SGD()
    names = trained(traced, trainable, loss)
    for parameter in traced.parameters.values():
        parameter.initialise(seed)
    target = host()
    passes = training_passes(optimizer, names, target, winograd, guard)
    built = _compile("training", traced, passes, target, start, observers, stop_after)
    if not isinstance(built, Compiled):
        return built
    return TrainingProgram(built, traced, measured, optimizer, names, threads or default_threads())


def compile_inference(
    outputs: Tensor | Mapping[str, Tensor] | Sequence[Tensor],
    *,
    threads: int | None = None,
    winograd: Policy = "auto",
    observers: Sequence[Observer] = (),
    stop_after: str | None = None,
) -> Any:
    """Compile the outputs alone: no gradient, nothing saved for one, a smaller arena.

    The program is called with the inputs by name and returns an array, a dict or a tuple, like `outputs`.
    """
    start = perf_counter()
    traced = trace(outputs)
    for parameter in traced.parameters.values():
        parameter.initialise()
    target = host()
    built = _compile("inference", traced, inference_passes(target, winograd), target, start, observers, stop_after)
    if not isinstance(built, Compiled):
        return built
    kind = type(outputs) if isinstance(outputs, Tensor | Mapping) else tuple
    return InferenceProgram(built, traced, kind, threads or default_threads())


def _compile(
    path: str, traced: Traced, passes: Sequence[Named], target: Target, start: float,
    observers: Sequence[Observer], stop_after: str | None,
) -> Any:  # fmt: skip
    known = ["trace", *[p.name for p in passes], "native"]
    if stop_after is not None and stop_after not in known:
        raise GraphError(f"there is no stage {stop_after}", hint=f"stages are {', '.join(known)}")
    if stop_after is None or stop_after == "native":
        return build(path, traced.graph, passes, verify, target, start, observers)
    dumps = dump_from_environment(path)
    for dump in dumps:
        dump.after("trace", None, traced.graph, perf_counter() - start, ())
    if stop_after == "trace":
        return traced.graph
    return run(passes, traced.graph, verify, (*dumps, *observers), stop_after)
