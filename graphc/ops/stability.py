"""Named rewrites that keep the mathematics of a scalar expression and remove its overflows and cancellations.

`stabilise` applies RULES bottom-up until none applies. What it removes are the forms that are inf/inf, 0·inf
or log(0) in floating point although their value is finite, as in 1/(1 + exp(-x)), log(1 - sigmoid(x)) and
log(1 + exp(x)). Every rule is an equality for real numbers wherever its left side is defined.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import sympy as sp
from sympy.core.expr import Expr

from graphc.ops.formula import Read
from graphc.ops.scalars import absolute, erfc, expm1, log1p, maximum, minimum, sigmoid, sign, softplus, tanh

exp, log = sp.exp, sp.log


@dataclass(frozen=True, slots=True)
class Rule:
    """A named equality; `apply` gives the right side for an expression that has the form of the left side."""

    name: str
    statement: str
    apply: Callable[[Expr], Expr | None]


@dataclass(frozen=True, slots=True)
class Step:
    """One application of a rule."""

    rule: str
    before: Expr
    after: Expr


@lru_cache(maxsize=16384)
def stabilise(e: Expr) -> Expr:
    """The same function of its reads, finite in floating point wherever its value is."""
    return _fixed_point(e, None)


def derivation(e: Expr) -> list[Step]:
    """The steps from an expression to its stable form, in order."""
    steps: list[Step] = []
    _fixed_point(e, steps)
    return steps


def _fixed_point(e: Expr, steps: list[Step] | None) -> Expr:
    while (new := _pass(e, steps)) != e:
        e = new
    return e


def _pass(e: Expr, steps: list[Step] | None) -> Expr:
    """One bottom-up pass, each distinct node once."""
    memo: dict[Expr, Expr] = {}

    def visit(node: Expr) -> Expr:
        if not node.args or isinstance(node, Read):
            return node
        if node not in memo:
            memo[node] = rewrite(rebuild(node))
        return memo[node]

    def rebuild(node: Expr) -> Expr:
        # y·(1 - y) is stable as it is, and needs sigmoid(u) alone
        kept = _logistic_complements(node)
        args = [visit_complement(a) if a in kept else visit(a) for a in node.args]
        return node if all(a is b for a, b in zip(args, node.args, strict=True)) else node.func(*args)

    def visit_complement(node: Expr) -> Expr:
        base, power = node.as_base_exp()
        return (1 - sigmoid(visit(_complement(base)))) ** power

    def rewrite(node: Expr) -> Expr:
        for rule in RULES:
            new = rule.apply(node)
            if new is not None and new != node:
                if steps is not None:
                    steps.append(Step(rule.name, node, new))
                return new
        return node

    return visit(e)


# ------------------------------------------------------------------------------------------ reading terms


def _term(e: Expr) -> tuple[Expr, Expr]:
    """(numeric coefficient, the rest) of a term."""
    coefficient, rest = e.as_coeff_Mul()
    return coefficient, rest


def _exponential(e: Expr) -> tuple[Expr, Expr] | None:
    """(c, u) where e = c·exp(u) with a number c, constants being c·exp(0)."""
    coefficient, rest = _term(e)
    if rest is sp.S.One:
        return coefficient, sp.S.Zero
    return (coefficient, rest.args[0]) if isinstance(rest, exp) else None


def _exponentials(e: Expr) -> list[tuple[Expr, Expr]] | None:
    """The (c, u) of a sum of at least two terms c·exp(u), at least one u not being constant."""
    if not isinstance(e, sp.Add):
        return None
    terms = [_exponential(a) for a in e.args]
    found = [t for t in terms if t is not None]
    return found if len(found) == len(terms) and any(u != 0 for _, u in found) else None


def _is_positive(e: Expr) -> bool:
    """Whether an expression is a sum of exponentials with positive coefficients."""
    terms = _exponentials(e)
    return terms is not None and all(c.is_positive for c, _ in terms)


def _is(e: Expr, number: int) -> bool:
    """Whether an expression is this number, be it exact or floating-point."""
    return bool(e.is_Number) and float(e) == number


def _tanh(u: Expr) -> Expr:
    """tanh(u), a minus sign taken out."""
    return -tanh(-u) if _term(u)[0].is_negative else tanh(u)


def _without(e: Expr, *removed: Expr) -> Expr:
    """A product without some of its factors."""
    return sp.Mul(*[a for a in e.args if not any(a is r for r in removed)])


def _factors(e: Expr) -> Iterator[tuple[Expr, Expr]]:
    """(base, exponent) of each factor, exp(u) being its own base."""
    for a in sp.Mul.make_args(e):
        yield (a.base, a.exp) if isinstance(a, sp.Pow) else (a, sp.S.One)


def _complement(e: Expr) -> Expr | None:
    """u where e = 1 - sigmoid(u)."""
    if not (isinstance(e, sp.Add) and len(e.args) == 2 and any(_is(a, 1) for a in e.args)):
        return None
    for a in e.args:
        coefficient, rest = _term(a)
        if _is(coefficient, -1) and isinstance(rest, sigmoid):
            return rest.args[0]
    return None


def _logistic_complements(e: Expr) -> frozenset[Expr]:
    """The factors 1 - sigmoid(u) of a product that has sigmoid(u) as a factor too."""
    if not isinstance(e, sp.Mul):
        return frozenset()
    inner = {base.args[0] for base, _ in _factors(e) if isinstance(base, sigmoid)}
    return frozenset(a for a in e.args if _complement(a.as_base_exp()[0]) in inner) if inner else frozenset()


# ---------------------------------------------------------------------------------------------- the rules


def _sympy_node(e: Expr) -> Expr | None:
    match e:
        case sp.Abs():
            return absolute(e.args[0])
        case sp.sign():
            return sign(e.args[0])
        case sp.tanh():
            return tanh(e.args[0])
        case sp.cosh():
            return (exp(e.args[0]) + exp(-e.args[0])) / 2
        case sp.sinh():
            return (exp(e.args[0]) - exp(-e.args[0])) / 2
        case sp.Max() | sp.Min():
            pair = maximum if isinstance(e, sp.Max) else minimum
            first, *rest = e.args
            for a in rest:
                first = pair(first, a)
            return first
    return None


def _tanh_quotient(e: Expr) -> Expr | None:
    if not isinstance(e, sp.Mul):
        return None
    for below in e.args:
        if not (isinstance(below, sp.Pow) and below.exp == -1):
            continue
        bottom = _exponentials(below.base)
        if bottom is None or len(bottom) != 2 or bottom[0][0] != bottom[1][0]:
            continue
        (c, u), (_, v) = bottom
        for above in e.args:
            top = {x: k for k, x in _exponentials(above) or ()}
            if len(top) == 2 and top.get(u) is not None and top.get(v) == -top[u]:
                return _without(e, above, below) * top[u] / c * _tanh((u - v) / 2)
    return None


def _reciprocal_of_one_plus_exp(e: Expr) -> Expr | None:
    if not (isinstance(e, sp.Pow) and e.exp.is_Number and e.exp.is_negative):
        return None
    terms = _exponentials(e.base)
    if terms is None or len(terms) != 2:
        return None
    (c, u), (d, v) = terms
    if v == 0:
        c, u, d, v = d, v, c, u
    return c**e.exp * sigmoid(-v - log(d / c)) ** -e.exp if u == 0 and (d / c).is_positive else None


def _exp_over_two_exps(e: Expr) -> Expr | None:
    if not isinstance(e, sp.Mul):
        return None
    above = next((a for a in e.args if isinstance(a, exp)), None)
    if above is None:
        return None
    for below in e.args:
        if isinstance(below, sp.Pow) and below.exp == -1:
            terms = _exponentials(below.base)
            if terms is not None and len(terms) == 2 and (terms[0][0] / terms[1][0]).is_positive:
                for (c, u), (d, v) in (terms, terms[::-1]):
                    if above.args[0] == u:
                        return _without(e, above, below) * sigmoid(u - v + log(c / d)) / c
    return None


def _exp_times_sigmoid(e: Expr) -> Expr | None:
    if not isinstance(e, sp.Mul):
        return None
    above = next((a for a in e.args if isinstance(a, exp)), None)
    if above is None:
        return None
    terms = set(sp.Add.make_args(above.args[0]))
    for base, power in _factors(e):
        if isinstance(base, sigmoid) and power.is_Number and power >= 1:
            u = base.args[0]
            for k in range(int(power), 0, -1):
                taken = set(sp.Add.make_args(-k * u))
                if taken <= terms:
                    others = sp.Mul(*[a for a in e.args if a is not above and a.as_base_exp()[0] != base])
                    left = exp(sp.Add(*(a for a in above.args[0].args if a not in taken))) if taken != terms else 1
                    mirrored = 1 - base if power > k else sigmoid(-u)
                    return others * left * base ** (power - k) * mirrored**k
    return None


def _sigmoid_quotient(e: Expr) -> Expr | None:
    if not isinstance(e, sp.Mul):
        return None
    powers = {base.args[0]: power for base, power in _factors(e) if isinstance(base, sigmoid)}
    for u, power in powers.items():
        if power.is_negative and -u in powers and powers[-u].is_positive:
            return e * sigmoid(u) / sigmoid(-u) * exp(-u)
    return None


def _expm1_times_sigmoid(e: Expr) -> Expr | None:
    if not isinstance(e, sp.Mul):
        return None
    factors = dict(_factors(e))
    for base in factors:
        if isinstance(base, expm1):
            partner = sigmoid(-base.args[0])
            if partner in factors:
                return e / (base * partner) * _tanh(base.args[0] / 2)
    return None


def _complement_of_sigmoid(e: Expr) -> Expr | None:
    u = _complement(e)
    return None if u is None else sigmoid(-u)


def _complement_of_erf(e: Expr) -> Expr | None:
    for a in e.args if isinstance(e, sp.Add) and any(_is(b, 1) for b in e.args) else ():
        coefficient, rest = _term(a)
        if isinstance(rest, sp.erf) and abs(coefficient) == 1:
            return e - 1 - a + erfc(-coefficient * rest.args[0])
    return None


def _exp_minus_one(e: Expr) -> Expr | None:
    if not isinstance(e, sp.Add):
        return None
    constant = next((a for a in e.args if a.is_Number), None)
    if constant is None:
        return None
    for a in e.args:
        coefficient, rest = _term(a)
        if isinstance(rest, exp) and coefficient == -constant:
            return e - a - constant + coefficient * expm1(rest.args[0])
    return None


def _log_of_product(e: Expr) -> Expr | None:
    if not isinstance(e, log):
        return None
    logs: list[Expr] = []
    kept: list[Expr] = []
    for a in sp.Mul.make_args(e.args[0]):
        base, power = (a.base, a.exp) if isinstance(a, sp.Pow) else (a, sp.S.One)
        if isinstance(base, exp):
            logs.append(power * base.args[0])
        elif isinstance(base, sigmoid):
            logs.append(-power * softplus(-base.args[0]))
        elif isinstance(a, sp.Pow) and _is_positive(base):
            logs.append(power * log(base))
        else:
            kept.append(a)
    # the factors taken out are positive, so that what is kept has the sign of the whole
    if not logs:
        return None
    if len(kept) == 1 and isinstance(kept[0], sp.Pow) and kept[0].exp == -1:
        return sp.Add(*logs, -log(kept[0].base))
    return sp.Add(*logs, log(sp.Mul(*kept)) if kept else sp.S.Zero)


def _log_of_exponentials(e: Expr) -> Expr | None:
    """log Σ c·exp(u) folded pair by pair: log(exp(a) + exp(b)) = a + softplus(b - a)."""
    terms = _exponentials(e.args[0]) if isinstance(e, log) else None
    if terms is None or len(terms) > 4 or not all(c.is_positive for c, _ in terms):
        return None
    terms.sort(key=lambda t: t[1] != 0)
    first, *rest = [u + log(c) for c, u in terms]
    for u in rest:
        first = first + softplus(u - first)
    return first


def _log_one_plus(e: Expr) -> Expr | None:
    if not (isinstance(e, log) and isinstance(e.args[0], sp.Add)):
        return None
    one = next((a for a in e.args[0].args if _is(a, 1)), None)
    return None if one is None else log1p(sp.Add(*[a for a in e.args[0].args if a is not one]))


def _log1p_of_known(e: Expr) -> Expr | None:
    if not isinstance(e, log1p):
        return None
    coefficient, rest = _term(e.args[0])
    if isinstance(rest, exp) and coefficient.is_positive:
        return softplus(rest.args[0] + log(coefficient))
    if isinstance(rest, sigmoid) and _is(coefficient, -1):
        return -softplus(rest.args[0])
    return rest.args[0] if isinstance(rest, expm1) and _is(coefficient, 1) else None


def _exp_of_softplus(e: Expr) -> Expr | None:
    if not isinstance(e, exp):
        return None
    exponent = e.args[0]
    coefficient, rest = _term(exponent)
    if isinstance(rest, softplus) and coefficient.is_negative:
        return sigmoid(-rest.args[0]) ** -coefficient
    for a in sp.Add.make_args(exponent):
        coefficient, rest = _term(a)
        if isinstance(rest, softplus) and _is(coefficient, -1) and exponent - a == rest.args[0]:
            return sigmoid(rest.args[0])
    return None


def _softplus_difference(e: Expr) -> Expr | None:
    if not isinstance(e, sp.Add):
        return None
    terms = {rest: c for c, rest in map(_term, e.args) if isinstance(rest, softplus)}
    for node, c in terms.items():
        mirrored = softplus(-node.args[0])
        if terms.get(mirrored) == -c and c.is_positive:
            return e - c * node + c * mirrored + c * node.args[0]
    return None


RULES: tuple[Rule, ...] = (
    Rule("own nodes", "|u|, sign, tanh, cosh, sinh, Max, Min of sympy in functions of this language", _sympy_node),
    Rule("hyperbolic tangent", "(eᵃ - eᵇ) / (eᵃ + eᵇ) = tanh((a - b) / 2)", _tanh_quotient),
    Rule("two-way softmax", "eᵃ / (eᵃ + eᵇ) = sigmoid(a - b)", _exp_over_two_exps),
    Rule("sigmoid", "1 / (1 + exp(u)) = sigmoid(-u)", _reciprocal_of_one_plus_exp),
    Rule("mirrored sigmoid", "exp(-u) · sigmoid(u) = sigmoid(-u)", _exp_times_sigmoid),
    Rule("quotient of sigmoids", "sigmoid(-u) / sigmoid(u) = exp(-u)", _sigmoid_quotient),
    Rule("hyperbolic tangent of half", "expm1(u) · sigmoid(-u) = tanh(u / 2)", _expm1_times_sigmoid),
    Rule("complement of sigmoid", "1 - sigmoid(u) = sigmoid(-u)", _complement_of_sigmoid),
    Rule("complement of erf", "1 + erf(u) = erfc(-u)", _complement_of_erf),
    Rule("log of a product", "log(a · exp(u) · sigmoid(v)) = log(a) + u - softplus(-v)", _log_of_product),
    Rule("log of exponentials", "log(exp(a) + exp(b)) = a + softplus(b - a)", _log_of_exponentials),
    Rule("log1p", "log(1 + u) = log1p(u)", _log_one_plus),
    Rule("log1p of a known function", "log1p(exp(u)) = softplus(u), log1p(expm1(u)) = u", _log1p_of_known),
    Rule("expm1", "exp(u) - 1 = expm1(u)", _exp_minus_one),
    Rule("exp of softplus", "exp(-softplus(u)) = sigmoid(-u)", _exp_of_softplus),
    Rule("difference of softplus", "softplus(u) - softplus(-u) = u", _softplus_difference),
)
"""The first rule that fits a node is applied to it, once its arguments are stable."""
