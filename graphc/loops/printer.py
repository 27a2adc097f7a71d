"""The text form of Loop IR: deterministic, made to be read, compared by golden tests.

kernel dense(x: f32[N,784], w: f32[784,16], y: f32[N,16]):   # classifier/dense
  for n in 0..N parallel:
    acc: f32x8[2] = 0.0
    for k in 0..784:
      let a = splat8(x[n, k])
      acc[0] += a * load8(w[k, 0])
      acc[1] += a * load8(w[k, 8])
    store y[n, 0:8] = acc[0]
"""

from __future__ import annotations

import math

from graphc.loops.expressions import (
    Binary,
    Bitcast,
    Bool,
    Cast,
    Cell,
    Compare,
    Const,
    ElementType,
    Expression,
    Extract,
    Fma,
    Fold,
    Iota,
    Load,
    Name,
    Number,
    Pack,
    Random,
    Select,
    Shuffle,
    Splat,
    Unary,
)
from graphc.loops.index import Index, Maximum, Minimum, Var
from graphc.loops.ir import (
    Accumulate,
    Assign,
    Barrier,
    Bind,
    Call,
    Condition,
    Declare,
    For,
    Function,
    Guard,
    If,
    Let,
    Mode,
    Prefetch,
    Statement,
    Step,
    Store,
    Transpose,
)
from graphc.types import DType

INDENT = "  "

INFIX = {
    "add": ("+", 8),
    "sub": ("-", 8),
    "mul": ("*", 9),
    "div": ("/", 9),
    "shl": ("<<", 7),
    "ashr": (">>", 7),
}
COMPARE = {"lt": "<", "le": "<=", "eq": "=="}
UPDATE = {"sum": "+=", "prod": "*=", "max": "max=", "min": "min="}

# Binding strengths, loosest first; INFIX holds the ones of arithmetic.
TERNARY, OR, AND, NOT, COMPARISON, BIT_OR, BIT_AND, NEGATION, POWER, ATOM = 0, 1, 2, 3, 4, 5, 6, 10, 11, 12


def type_text(dtype: ElementType, lanes: int = 1) -> str:
    """`f32`, or with several lanes `f32x8`."""
    return dtype.short if lanes == 1 else f"{dtype.short}x{lanes}"


def expression_text(e: Expression) -> str:
    """One expression, infix, with no more parentheses than the order of evaluation needs."""
    return _text(e)[0]


def _wide(word: str, lanes: int) -> str:
    return word if lanes == 1 else f"{word}{lanes}"


def _at_least(e: Expression, strength: int) -> str:
    text, own = _text(e)
    return text if own >= strength else f"({text})"


def _list(items: tuple[Expression, ...]) -> str:
    return ", ".join(map(expression_text, items))


def _number(value: float | int, dtype: ElementType) -> str:
    if isinstance(dtype, Bool):
        return "true" if value else "false"
    if not dtype.is_float:
        return str(int(value))
    value = float(value)
    if not math.isfinite(value):
        return str(value)
    text = f"{value:.9g}" if dtype is DType.FLOAT32 else repr(value)
    return text if set(text) & set(".e") else text + ".0"


def _place(name: str, index: tuple[Index, ...]) -> str:
    return f"{name}[{', '.join(map(str, index))}]" if index else name


def _text(e: Expression) -> tuple[str, int]:
    """(text, how strongly it holds together)."""
    match e:
        case Const(value, dtype):
            text = _number(value, dtype)
            return text, NEGATION if text.startswith("-") else ATOM
        case Name(name):
            return name, ATOM
        case Number(index, dtype, lanes):
            return f"{type_text(dtype, lanes)}({index})", ATOM
        case Iota(dtype, lanes):
            return f"{type_text(dtype, lanes)}(iota)", ATOM
        case Load(buffer, index, lanes, active):
            place = _place(buffer.name, index)
            if active is not None:
                return f"{_wide('load', lanes)}({place} active {active})", ATOM
            return (place if lanes == 1 else f"load{lanes}({place})"), ATOM
        case Cell(array, index):
            return _place(array, index), ATOM
        case Unary("neg", x):
            return f"-{_at_least(x, NEGATION + 1)}", NEGATION
        case Unary("not", x):
            return f"not {_at_least(x, NOT + 1)}", NOT
        case Unary(operation, x):
            return f"{operation}({expression_text(x)})", ATOM
        case Binary():
            return _binary(e)
        case Fma(a, b, c):
            return f"fma({_list((a, b, c))})", ATOM
        case Compare(operation, a, b):
            left, right = _at_least(a, COMPARISON + 1), _at_least(b, COMPARISON + 1)
            return f"{left} {COMPARE.get(operation, operation)} {right}", COMPARISON
        case Select(condition, a, b):
            parts = (_at_least(condition, TERNARY + 1), _at_least(a, TERNARY + 1), _at_least(b, TERNARY))
            return "{} ? {} : {}".format(*parts), TERNARY
        case Cast(x, dtype):
            return f"{type_text(dtype, x.lanes)}({expression_text(x)})", ATOM
        case Bitcast(x, dtype):
            return f"bits_{type_text(dtype, x.lanes)}({expression_text(x)})", ATOM
        case Splat(x, lanes):
            return f"splat{lanes}({expression_text(x)})", ATOM
        case Pack(items):
            return f"pack{len(items)}({_list(items)})", ATOM
        case Shuffle(a, b, order):
            return f"shuffle{len(order)}({_list((a, b) if a != b else (a,))}; {' '.join(map(str, order))})", ATOM
        case Extract(x, lane):
            return f"lane{lane}({expression_text(x)})", ATOM
        case Fold(reduction, x, width):
            return f"{reduction}{width}({expression_text(x)})", ATOM
        case Random(key, step, place):
            return f"random({_list((key, step, place))})", ATOM


def _binary(e: Binary) -> tuple[str, int]:
    if e.operation in ("and", "or"):
        word, strength = ("and", AND) if e.operation == "and" else ("or", OR)
        if not isinstance(e.dtype, Bool):
            word, strength = ("&", BIT_AND) if e.operation == "and" else ("|", BIT_OR)
    elif e.operation in INFIX:
        word, strength = INFIX[e.operation]
    elif e.operation == "pow":
        return f"{_at_least(e.a, POWER + 1)} ** {_at_least(e.b, POWER + 1)}", POWER
    else:
        return f"{e.operation}({_list((e.a, e.b))})", ATOM
    # The right operand is stricter: a - (b - c), and a + (b + c), whose rounding differs from (a + b) + c.
    return f"{_at_least(e.a, strength)} {word} {_at_least(e.b, strength + 1)}", strength


def condition_text(c: Condition) -> str:
    """`y-1 >= 0` or `2 divides y-1`."""
    return f"{c.index} >= 0" if c.kind == "ge" else f"{c.divisor} divides {c.index}"


def _loop_head(loop: For) -> str:
    words = [f"{'vector' if loop.mode is Mode.VECTOR else 'for'} {loop.var} in {loop.start}..{_stop(loop.stop)}"]
    if loop.step != 1:
        words.append(f"by {loop.step}")
    if loop.mode in (Mode.PARALLEL, Mode.UNROLL):
        words.append(loop.mode.value)
    if loop.active is not None:
        words.append(f"active {loop.active}")
    return " ".join(words) + ":"


def _stop(stop: Index) -> str:
    """A lone variable, minimum or number needs no parentheses after `..`; a sum does."""
    match stop.terms:
        case () | ((Var() | Minimum() | Maximum(), 1),) if stop.is_constant or not stop.constant:
            return str(stop)
        case _:
            return f"({stop})"


def _store_place(s: Store) -> str:
    if s.value.lanes == 1:
        return _place(s.buffer.name, s.index)
    *outer, last = s.index
    inner = f"{last}:{last + s.value.lanes}"
    return f"{s.buffer.name}[{', '.join([*map(str, outer), inner])}]"


def statement_head(s: Statement) -> str:
    """The first line of a statement, without its body."""
    match s:
        case For():
            return _loop_head(s)
        case If(conditions):
            return f"if {' and '.join(map(condition_text, conditions))}:"
        case Let(name, value):
            return f"let {name} = {expression_text(value)}"
        case Bind(var, index):
            return f"{var} := {index}"
        case Store(_, _, value, active):
            masked = "" if active is None else f" active {active}"
            return f"store {_store_place(s)}{masked} = {expression_text(value)}"
        case Prefetch(buffer, index):
            return f"prefetch {_place(buffer.name, index)}"
        case Declare(array, shape, dtype, initial, lanes):
            extents = f"[{','.join(map(str, shape))}]" if shape else ""
            return f"{array}: {type_text(dtype, lanes)}{extents} = {expression_text(initial)}"
        case Transpose(array):
            return f"transpose {array}"
        case Assign(array, index, value):
            return f"{_place(array, index)} = {expression_text(value)}"
        case Accumulate(array, index, reduction, value):
            return f"{_place(array, index)} {UPDATE.get(reduction, reduction)} {expression_text(value)}"


def _lines(body: tuple[Statement, ...], depth: int) -> list[str]:
    if not body:
        return [INDENT * depth + "nothing"]
    lines = []
    for s in body:
        lines.append(INDENT * depth + statement_head(s))
        if isinstance(s, For | If):
            lines += _lines(s.body, depth + 1)
    return lines


def _comment(scope: str) -> str:
    return f"   # {scope}" if scope else ""


def body_text(body: tuple[Statement, ...]) -> str:
    """Statements without a kernel around them."""
    return "\n".join(_lines(body, 0)) + "\n"


def function_text(f: Function) -> str:
    """One kernel: its buffers on the first line, its loops below."""
    head = f"kernel {f.name}({', '.join(map(str, f.buffers))}):{_comment(f.scope)}"
    return "\n".join([head, *_lines(f.body, 1)]) + "\n"


def step_text(step: Step) -> str:
    """A program: its buffers, its calls, barriers and guards in order, then every kernel."""
    lines = [f"step {step.name}:"]
    lines += [f"{INDENT}buffer {b}" for b in step.buffers]
    for item in step.body:
        match item:
            case Call(function, buffers, scope):
                lines.append(f"{INDENT}{function}({', '.join(buffers)}){_comment(scope)}")
            case Barrier():
                lines.append(f"{INDENT}barrier")
            case Guard(buffer):
                lines.append(f"{INDENT}stop unless {buffer} is finite")
    return "\n".join([*lines, ""]) + "".join(f"\n{function_text(f)}" for f in step.functions)
