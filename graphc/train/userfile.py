"""Models in files of the user's own."""

from __future__ import annotations

import inspect
import runpy
import traceback
from pathlib import Path
from typing import Any

from graphc.errors import GraphcError
from graphc.types import Location

FIELDS = ("images", "labels", "logits", "loss", "accuracy")
"""What makes a classifier."""


def is_classifier(candidate: Any) -> bool:
    """Whether an object has all tensors of a classifier."""
    return all(hasattr(candidate, field) for field in FIELDS)


def classifier_of(path: Path, **offered: Any) -> Any:
    """The classifier that a file calls `model`, or that its function `model` returns.

    The function is given what is offered (image_shape, classes) as far as it has parameters for it.
    Raises GraphcError with the line of the file where its own code failed.
    """
    if not path.is_file():
        raise GraphcError(f"{path} does not exist")
    try:
        model = runpy.run_path(str(path)).get("model")
        if callable(model) and not is_classifier(model):
            wanted = inspect.signature(model).parameters
            model = model(**{name: value for name, value in offered.items() if name in wanted})
    except GraphcError:
        raise
    except SyntaxError as error:
        raise GraphcError(f"{error.msg}", location=Location(str(path), error.lineno or 1)) from error
    except Exception as error:
        frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
        place = Location(str(path), frames[-1].lineno or 1) if frames else None
        raise GraphcError(f"{type(error).__name__}: {error}", location=place) from error
    if not is_classifier(model):
        missing = ", ".join(f for f in FIELDS if not hasattr(model, f))
        raise GraphcError(
            f"{path} must define `model`, a classifier or a function that returns one; "
            f"got {type(model).__name__} without {missing}",
            hint="see graphc.models.Classifier",
        )
    return model
