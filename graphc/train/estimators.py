"""Networks with the habits of scikit-learn: fit, predict and score, in a Pipeline or under GridSearchCV.

    classifier = gc.GraphClassifier(hidden_layer_sizes=(64,), max_iter=30).fit(X, y)
    classifier.score(X_test, y_test)

scikit-learn is needed here and nowhere else: `pip install graphc[sklearn]`.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state, column_or_1d
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from graphc.dsl.functional import cross_entropy, softmax, square
from graphc.dsl.nn import Dense, Sequential
from graphc.dsl.tensor import Tensor, input
from graphc.errors import GraphcError, ShapeError
from graphc.train import optimisers
from graphc.train.callbacks import Callback, EarlyStopping
from graphc.train.history import History
from graphc.train.optimisers import Optimizer
from graphc.train.trainer import Model
from graphc.types import BATCH

Array = npt.NDArray[Any]

OPTIMISERS = {
    name.lower(): getattr(optimisers, name) for name in optimisers.__all__ if name not in ("Group", "Optimizer")
}
"""By the names that `optimizer` takes: "sgd", "adam", ..."""


@dataclass(eq=False, repr=False)
class _Network(BaseEstimator, ABC):  # type: ignore[misc]
    """Dense layers, or what `network` makes of the number of outputs, trained on features [samples, features].

    Fitted attributes: `weights_` (parameters by dotted name), `loss_curve_` (the mean loss of each pass over the
    samples, of the held-out ones with `early_stopping`), `n_iter_`, `n_features_in_`, `feature_names_in_`. Computes
    in float32 for features of float32, in float64 for all others.
    """

    hidden_layer_sizes: Sequence[int] = (100,)
    activation: Any = "relu"
    network: Callable[[int], Any] | None = None
    """`lambda outputs: gc.Sequential(...)`, in place of dense layers."""
    optimizer: str | Optimizer = "adam"
    """A name, or an optimiser, which then has a rate and a weight decay of its own."""
    learning_rate: Any = 1e-3
    """A number, or a schedule such as gc.schedules.cosine(1e-3)."""
    weight_decay: float | None = None
    """None: what the optimiser has by default."""
    batch_size: Any = "auto"
    """A number; "auto" is 200, or all samples if there are fewer."""
    max_iter: int = 200
    """Passes over the samples."""
    tol: float | None = 1e-4
    """Training ends after `n_iter_no_change` passes that did not lower the loss by this; None: after `max_iter`."""
    n_iter_no_change: int = 10
    early_stopping: bool = False
    """Hold out a `validation_fraction` of the samples, look at their loss, and keep the weights that were best."""
    validation_fraction: float = 0.1
    shuffle: bool = True
    warm_start: bool = False
    """`fit` goes on from the weights of the last one."""
    random_state: Any = None
    threads: int | None = None
    verbose: int = 0

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Minimise Σ w·loss / Σ w. X [samples, features], y [samples], sample_weight [samples].

        Raises ValueError for data that scikit-learn refuses, NonFiniteError if the loss becomes infinite or NaN.
        """
        kept: dict[str, Array] | None = getattr(self, "weights_", None) if self.warm_start else None
        data = self._data(X, y, sample_weight, kept is None)
        self._begin(data, kept)
        held_out, monitor, listeners = None, "loss", list[Callback]()
        if self.early_stopping:
            data, held_out = self._parts(data)
            monitor = "val_loss"
        if self.early_stopping or self.tol is not None:
            patience = self.max_iter if self.tol is None else self.n_iter_no_change
            listeners = [EarlyStopping(monitor, patience, self.tol or 0.0, restore_best=self.early_stopping)]
        self.loss_curve_ = self._train(data, self.max_iter, held_out, listeners)[monitor]
        self.n_iter_ = len(self.loss_curve_)
        if self.tol is not None and self.n_iter_ == self.max_iter:
            warnings.warn(
                f"the loss still falls after max_iter={self.max_iter}: raise it, or mean so many with tol=None",
                ConvergenceWarning, stacklevel=2,
            )  # fmt: skip
        return self

    def _go_on(self, X: Any, y: Any, sample_weight: Any, classes: Any = None) -> Self:
        """One pass over the samples, from the weights and the state of the optimiser as they are."""
        first = not hasattr(self, "weights_")
        data = self._data(X, y, sample_weight, first, classes)
        if first:
            self._begin(data, None)
            self.loss_curve_ = []
        self.loss_curve_ = [*self.loss_curve_, *self._train(data, 1)["loss"]]
        self.n_iter_ = len(self.loss_curve_)
        return self

    def _train(
        self, data: dict[str, Array], epochs: int, held_out: Any = None, listeners: Sequence[Callback] = ()
    ) -> History:
        history = self._model.fit(
            data, epochs=epochs, batch_size=self._batch(data), optimizer=self._optimizer, callbacks=listeners,
            validation_data=held_out, shuffle=self.shuffle, seed=self._seed, threads=self.threads, verbose=self.verbose,
        )  # fmt: skip
        self.weights_ = self._model.state_dict()
        return history

    def _data(self, X: Any, y: Any, sample_weight: Any, first: bool, classes: Any = None) -> dict[str, Array]:
        """Features, targets and weights as arrays that the program takes."""
        X, y = validate_data(self, X, y, reset=first, dtype=(np.float64, np.float32), multi_output=True)
        y = self._target(y, X.dtype, first, classes)
        weight = _check_sample_weight(sample_weight, X, dtype=np.float64) * self._importance(y)
        if not (weight >= 0).all() or not weight.any():
            raise ValueError("sample weights must not be negative, nor all zero")
        return {"X": X, "y": y, "weight": (weight / weight.mean()).astype(X.dtype)}

    def _begin(self, data: dict[str, Array], weights: dict[str, Array] | None) -> None:
        """A new model with a new optimiser."""
        self._dtype = data["X"].dtype.name
        self._seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        self._build()
        if weights is not None:
            self._model.load_state_dict(weights)

    def _build(self) -> None:
        features, outputs = self.n_features_in_, self._outputs
        if self.network is None:
            sizes = enumerate(np.atleast_1d(self.hidden_layer_sizes), 1)
            hidden = [Dense(int(units), self.activation, name=f"hidden{k}") for k, units in sizes]
            network: Any = Sequential(*hidden, Dense(outputs, name="output"))
        else:
            network = self.network(outputs)
        raw = network(input("X", (BATCH, features), self._dtype))
        if raw.shape != (BATCH, outputs):
            raise ShapeError(
                f"network({outputs}) gives {raw.shape} for each batch, expected {(BATCH, outputs)}",
                hint=f"let it end with gc.Dense({outputs})",
            )
        prediction, losses = self._head(raw)
        weight = input("weight", (BATCH,), self._dtype)
        self._model = Model(prediction, loss=(weight * losses).mean(), x="X", y="y")
        self._optimizer = self._new_optimiser()

    def _new_optimiser(self) -> Optimizer:
        if not isinstance(self.optimizer, str):
            return deepcopy(self.optimizer)
        if self.optimizer not in OPTIMISERS:
            raise GraphcError(f"unknown optimizer {self.optimizer!r}", hint=f"{', '.join(OPTIMISERS)}, or an optimiser")
        decay = {} if self.weight_decay is None else {"weight_decay": self.weight_decay}
        made: Optimizer = OPTIMISERS[self.optimizer](lr=self.learning_rate, **decay)
        return made

    def _batch(self, data: dict[str, Array]) -> int:
        return min(200, len(data["X"])) if self.batch_size == "auto" else self.batch_size

    def _parts(self, data: dict[str, Array]) -> tuple[dict[str, Array], dict[str, Array]]:
        """The samples to learn from and those that are held out, with weights whose mean is 1 in both."""
        rows = train_test_split(
            np.arange(len(data["X"])), test_size=self.validation_fraction, random_state=self._seed,
            stratify=self._strata(data["y"]),
        )  # fmt: skip
        learnt, held_out = ({name: array[part] for name, array in data.items()} for part in rows)
        for part in (learnt, held_out):
            part["weight"] = part["weight"] / (part["weight"].mean() or 1)
        return learnt, held_out

    def _predicted(self, X: Any) -> Array:
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=self._dtype)
        return self._model.predict(X, threads=self.threads)

    # pickles and copies hold numbers, not programs
    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in super().__getstate__().items() if k not in ("_model", "_optimizer")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if hasattr(self, "weights_"):
            self._build()
            self._model.load_state_dict(self.weights_)
            self._model.epochs = self.n_iter_

    # ------------------------------------------------------------------------------- what subclasses decide

    @abstractmethod
    def _target(self, y: Array, dtype: npt.DTypeLike, first: bool, classes: Any) -> Array:
        """The targets as the loss takes them. Raises ValueError."""

    @abstractmethod
    def _head(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        """The prediction, and the loss of each sample."""

    @property
    @abstractmethod
    def _outputs(self) -> int:
        """How many numbers the network gives for a sample."""

    def _importance(self, y: Array) -> Any:
        """What samples count because of their targets."""
        return 1

    def _strata(self, y: Array) -> Array | None:
        """The classes whose shares a split keeps."""
        return None


@dataclass(eq=False, repr=False)
class GraphClassifier(ClassifierMixin, _Network):  # type: ignore[misc]
    """Classes by a network: p = softmax(network(x)), trained with -log p[y]. Labels are what numpy can sort.

    class_weight: None, "balanced" (samples / (classes · samples of the class)), or a weight for each label.
    Fitted attributes: those of every network (see `fit`), and `classes_`.
    """

    class_weight: Any = None

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> Self:
        """One pass over the samples. The first call is told all `classes`. Raises ValueError."""
        if classes is None and not hasattr(self, "weights_"):
            raise ValueError("the first call of partial_fit needs classes=, all labels that may come")
        if hasattr(self, "weights_") and classes is not None and set(classes) != set(self.classes_):
            raise ValueError(f"classes is {classes}, the first call had {self.classes_}")
        if self.class_weight == "balanced":
            raise ValueError('class_weight="balanced" needs all samples at once: give partial_fit a dictionary')
        return self._go_on(X, y, sample_weight, classes)

    def predict(self, X: Any) -> Array:
        """The likeliest label of each sample [samples]."""
        likeliest = self.predict_proba(X).argmax(axis=1)
        return self.classes_[likeliest]

    def predict_proba(self, X: Any) -> Array:
        """The probability of each class [samples, classes], in the order of `classes_`."""
        return self._predicted(X)

    def _target(self, y: Array, dtype: npt.DTypeLike, first: bool, classes: Any) -> Array:
        check_classification_targets(y)
        y = column_or_1d(y, warn=True)
        if first:
            self.classes_ = np.unique(y if classes is None else classes)
        numbers = np.searchsorted(self.classes_, y).clip(max=len(self.classes_) - 1)
        if (unknown := self.classes_[numbers] != y).any():
            raise ValueError(f"y holds {y[unknown].tolist()[0]!r}, the classes are {self.classes_}")
        return numbers.astype(np.int32)

    def _head(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        return softmax(raw), cross_entropy(raw, input("y", (BATCH,), "int32"), reduction="none")

    @property
    def _outputs(self) -> int:
        return len(self.classes_)

    def _importance(self, y: Array) -> Any:
        return compute_sample_weight(self.class_weight, self.classes_[y])

    def _strata(self, y: Array) -> Array | None:
        return y


@dataclass(eq=False, repr=False)
class GraphRegressor(RegressorMixin, _Network):  # type: ignore[misc]
    """Numbers by a network: y = network(x), trained with (y - target)²; several numbers for a sample too."""

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """One pass over the samples. Raises ValueError."""
        return self._go_on(X, y, sample_weight)

    def predict(self, X: Any) -> Array:
        """The expected targets [samples], or [samples, targets] if there were several."""
        prediction = self._predicted(X)
        return prediction[:, 0] if self._flat else prediction

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def _target(self, y: Array, dtype: npt.DTypeLike, first: bool, classes: Any) -> Array:
        y = y if y.ndim == 2 and y.shape[1] > 1 else column_or_1d(y, warn=True)
        numbers = y.astype(dtype).reshape(len(y), -1)
        if first:
            self._flat, self._targets = y.ndim == 1, numbers.shape[1]
        if numbers.shape[1] != self._targets:
            raise ValueError(f"y has {numbers.shape[1]} targets for each sample, the first call had {self._targets}")
        return numbers

    def _head(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        return raw, square(raw - input("y", (BATCH, self._targets), self._dtype)).mean(axis=1)

    @property
    def _outputs(self) -> int:
        return self._targets
