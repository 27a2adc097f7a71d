"""Texts for models that predict one character after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from graphc.errors import DataError
from graphc.train.data.blocks import Arrays


def text(path: str | Path | None = None) -> str:
    """A text file in UTF-8; without one, some 465,000 characters of English that come with every Python.

    Those are the articles of Python's language reference in alphabetical order (pydoc_data.topics). Raises DataError.
    """
    if path is None:
        from pydoc_data.topics import topics

        return "\n".join(topics[name] for name in sorted(topics))
    try:
        content = Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        byte = f"byte {error.start} is {error.object[error.start]:#04x}"
        raise DataError(f"{path} is not text in UTF-8: {byte}", hint="convert it to UTF-8") from None
    if not content:
        raise DataError(f"{path} is empty")
    return content


@dataclass(frozen=True, slots=True, eq=False)
class CharacterCorpus:
    """A text as numbers of its characters: codes [length], the k-th character of `vocabulary` having code k."""

    codes: npt.NDArray[np.int32]
    vocabulary: str

    @classmethod
    def of(cls, content: str, vocabulary: str | None = None) -> CharacterCorpus:
        """The corpus of a text; the vocabulary is its characters in the order of Unicode, unless one is given."""
        vocabulary = "".join(sorted(set(content))) if vocabulary is None else vocabulary
        if len(set(vocabulary)) < len(vocabulary):
            twice = next(c for c in vocabulary if vocabulary.count(c) > 1)
            raise DataError(f"the vocabulary has {twice!r} twice")
        return cls(_encoded(content, vocabulary), vocabulary)

    def __len__(self) -> int:
        return len(self.codes)

    def encode(self, content: str) -> npt.NDArray[np.int32]:
        """The codes [length] of a text. Raises DataError for a character that is not in the vocabulary."""
        return _encoded(content, self.vocabulary)

    def decode(self, codes: npt.ArrayLike) -> str:
        """The text of codes [length]. Raises DataError for codes out of range."""
        numbers = np.asarray(codes).ravel()
        if len(numbers) and not 0 <= numbers.min() <= numbers.max() < len(self.vocabulary):
            bad = next(n for n in numbers if not 0 <= n < len(self.vocabulary))
            raise DataError(f"code {bad} is not in 0..{len(self.vocabulary) - 1}, the vocabulary")
        return "".join(self.vocabulary[k] for k in numbers)

    def split(self, held_out: float = 0.1) -> tuple[CharacterCorpus, CharacterCorpus]:
        """(the beginning, the last share `held_out` of the text): neighbouring characters are too alike to shuffle."""
        cut = len(self) - round(len(self) * held_out)
        if not 0 < cut < len(self):
            raise DataError(f"a share of {held_out:.3g} of {len(self)} characters leaves one part empty")
        return CharacterCorpus(self.codes[:cut], self.vocabulary), CharacterCorpus(self.codes[cut:], self.vocabulary)

    def windows(self, length: int = 64, stride: int | None = None) -> Windows:
        """Stretches of `length` characters that begin every `stride` characters (next to each other by default)."""
        stride = length if stride is None else stride
        if length < 1 or stride < 1:
            raise DataError(f"length and stride must be at least 1, got {length} and {stride}")
        if len(self) <= length:
            raise DataError(
                f"{len(self)} characters have no window of {length} and the one after it",
                hint=f"length={len(self) - 1} or less" if len(self) > 1 else "a longer text",
            )
        views: Any = np.lib.stride_tricks.sliding_window_view(self.codes, length)
        return Windows(views[:-1:stride], views[1::stride])


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """inputs [windows, length] and targets, which are the inputs one character later: views of the text, no copies."""

    inputs: npt.NDArray[np.int32]
    targets: npt.NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.inputs)

    def source(self, names: Sequence[str]) -> Arrays:
        """What `fit` reads, the inputs for characters and targets being called by `names`."""
        return Arrays(dict(zip(names, (self.inputs, self.targets), strict=True)))


def _encoded(content: str, vocabulary: str) -> npt.NDArray[np.int32]:
    """The places of characters in the vocabulary."""
    points = np.frombuffer(content.encode("utf-32-le", "surrogatepass"), np.uint32)
    known = np.frombuffer(vocabulary.encode("utf-32-le", "surrogatepass"), np.uint32)
    if not len(known):
        raise DataError("the vocabulary is empty", hint="a text of at least one character")
    order = np.argsort(known)
    codes = order[np.minimum(np.searchsorted(known[order], points), len(known) - 1)].astype(np.int32)
    wrong = known[codes] != points
    if wrong.any():
        first = int(np.argmax(wrong))
        raise DataError(f"character {content[first]!r} at {first} is not in the vocabulary of {len(known)} characters")
    return codes
