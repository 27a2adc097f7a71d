"""The one error hierarchy. Every message says where, what was expected, what was got, and the likely fix."""

from __future__ import annotations

from graphc.types import Location


class GraphcError(Exception):
    """Base of all errors that graphc raises on purpose.

    `location` is the line of the user's code, `layer` the scope ("features/conv1"), `hint` the likely fix.
    """

    def __init__(self, message: str, *, location: Location | None = None, layer: str = "", hint: str = "") -> None:
        self.message, self.location, self.layer, self.hint = message, location, layer, hint
        super().__init__(message)

    def at(self, location: Location | None, layer: str = "") -> GraphcError:
        """The same error with the place filled in where it was not known yet."""
        self.location = self.location or location
        self.layer = self.layer or layer
        return self

    def __str__(self) -> str:
        where = f"{self.location.file}:{self.location.line}: " if self.location else ""
        layer = f"{self.layer}: " if self.layer else ""
        hint = f"\n  hint: {self.hint}" if self.hint else ""
        return f"{where}{layer}{self.message}{hint}"


class ShapeError(GraphcError, ValueError):
    """Extents do not fit the formula."""


class DTypeError(GraphcError, TypeError):
    """An element type that the formula does not accept."""


class InputError(GraphcError, ValueError):
    """Data handed to a compiled program does not fit its declaration: name, shape, dtype, range, finiteness."""


class DerivativeError(GraphcError):
    """A derivative was asked for where there is none."""


class GraphError(GraphcError):
    """The graph is not what the request needs (changed after compiling, values of two graphs mixed, no loss)."""


class VerificationError(GraphcError):
    """A pass left its language: an internal defect, reported with the stage that broke the contract."""


class NonFiniteError(GraphcError, ArithmeticError):
    """A loss or an activation became NaN or infinite; names the first layer where it happened."""


class LoweringError(GraphcError):
    """A formula cannot be turned into loops."""


class DataError(GraphcError, ValueError):
    """A data set is missing, empty or malformed."""
