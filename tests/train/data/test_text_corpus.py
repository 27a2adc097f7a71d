import numpy as np
import pytest

from graphc.errors import DataError
from graphc.train.data import CharacterCorpus, text
from graphc.train.sources import source_of

SENTENCE = "the quick brown fox jumps over the lazy dog"


def test_the_text_that_comes_with_python_is_long_english():
    content = text()
    assert 300_000 < len(content) < 1_000_000
    assert content == text()
    assert content.count(" the ") > 2000


def test_a_file_is_a_text(tmp_path):
    (tmp_path / "poem.txt").write_text("été", encoding="utf-8")
    assert text(tmp_path / "poem.txt") == "été"
    (tmp_path / "poem.txt").write_bytes(b"\xe9t\xe9")
    with pytest.raises(DataError, match=r"poem\.txt is not text in UTF-8: byte 0 is 0xe9"):
        text(tmp_path / "poem.txt")
    (tmp_path / "poem.txt").write_text("")
    with pytest.raises(DataError, match="is empty"):
        text(tmp_path / "poem.txt")
    with pytest.raises(DataError, match="cannot be read: No such file"):
        text(tmp_path / "none.txt")


def test_decoding_gives_the_text_that_was_encoded():
    corpus = CharacterCorpus.of(SENTENCE + "é😀")
    assert corpus.vocabulary == "".join(sorted(set(SENTENCE + "é😀")))
    assert corpus.decode(corpus.codes) == SENTENCE + "é😀"
    assert corpus.encode("😀dog").tolist() == [corpus.vocabulary.index(c) for c in "😀dog"]
    assert corpus.encode("").tolist() == []
    assert CharacterCorpus.of("ba", "cba").codes.tolist() == [1, 2]


def test_targets_are_the_inputs_one_character_later():
    corpus = CharacterCorpus.of(SENTENCE)
    windows = corpus.windows(8)
    assert len(windows) == 5
    assert [corpus.decode(row) for row in windows.inputs] == [SENTENCE[k : k + 8] for k in range(0, 40, 8)]
    assert [corpus.decode(row) for row in windows.targets] == [SENTENCE[k + 1 : k + 9] for k in range(0, 40, 8)]
    assert np.shares_memory(windows.inputs, corpus.codes)
    everywhere = corpus.windows(8, stride=1)
    assert len(everywhere) == len(SENTENCE) - 8
    assert corpus.decode(everywhere.targets[-1]) == SENTENCE[-8:]
    assert len(CharacterCorpus.of("abc").windows(2)) == 1


def test_windows_are_a_source():
    windows = CharacterCorpus.of(SENTENCE).windows(8)
    (block,) = source_of(windows, None, ("characters", "next")).blocks(2, seed=0, epoch=1)
    np.testing.assert_array_equal(block.arrays["characters"][:, 1:], block.arrays["next"][:, :-1])
    assert len(block) == 5


def test_the_end_of_the_text_is_held_out():
    first, last = CharacterCorpus.of(SENTENCE).split(0.25)
    assert first.decode(first.codes) + last.decode(last.codes) == SENTENCE
    assert len(last) == round(len(SENTENCE) * 0.25)
    assert last.vocabulary == first.vocabulary


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda c: c.encode("fox!"), "character '!' at 3 is not in the vocabulary of 27 characters"),
        (lambda c: c.decode([0, 27]), r"code 27 is not in 0\.\.26"),
        (lambda c: c.windows(43), r"43 characters have no window of 43 and the one after it\n.*length=42"),
        (lambda c: c.windows(0), "must be at least 1"),
        (lambda c: c.split(0), "leaves one part empty"),
        (lambda c: CharacterCorpus.of("aa", "aba"), "has 'a' twice"),
        (lambda c: CharacterCorpus.of(""), "the vocabulary is empty"),
    ],
)
def test_what_a_corpus_cannot_do_is_an_error(act, message):
    with pytest.raises(DataError, match=message):
        act(CharacterCorpus.of(SENTENCE))
