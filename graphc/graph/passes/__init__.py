"""Passes from graphs to graphs, one in each file."""

from graphc.graph.passes.apply_winograd import apply_winograd
from graphc.graph.passes.canonicalise import canonicalise
from graphc.graph.passes.eliminate_common_subexpressions import eliminate_common_subexpressions
from graphc.graph.passes.eliminate_dead_code import eliminate_dead_code
from graphc.graph.passes.fold_constants import fold_constants
from graphc.graph.passes.shift_exponential_sums import shift_exponential_sums
from graphc.graph.passes.specialise_for_inference import specialise_for_inference
from graphc.graph.passes.stabilise_composites import stabilise_composites

__all__ = [
    "apply_winograd",
    "canonicalise",
    "eliminate_common_subexpressions",
    "eliminate_dead_code",
    "fold_constants",
    "shift_exponential_sums",
    "specialise_for_inference",
    "stabilise_composites",
]
