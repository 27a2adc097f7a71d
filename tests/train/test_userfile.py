from types import SimpleNamespace

import pytest

from graphc.errors import GraphcError, ShapeError
from graphc.train.userfile import FIELDS, classifier_of, is_classifier

CLASSIFIER = """from types import SimpleNamespace as S
empty = dict.fromkeys("images labels logits loss accuracy".split())
"""


def load(tmp_path, text):
    path = tmp_path / "mine.py"
    path.write_text(text)
    return classifier_of(path, image_shape=(1, 8, 8), classes=10)


def test_a_classifier_is_what_has_all_the_tensors():
    whole = dict.fromkeys(FIELDS)
    assert is_classifier(SimpleNamespace(**whole))
    for field in FIELDS:
        assert not is_classifier(SimpleNamespace(**{k: v for k, v in whole.items() if k != field}))


def test_a_file_may_hold_the_model_itself(tmp_path):
    assert load(tmp_path, CLASSIFIER + "model = S(**empty, mark=3)").mark == 3


@pytest.mark.parametrize(
    ("parameters", "got"),
    [("", ()), ("classes", (10,)), ("image_shape, classes", ((1, 8, 8), 10)), ("classes, width=5", (10, 5))],
)
def test_a_function_is_given_what_it_asks_for(tmp_path, parameters, got):
    names = ", ".join(p.split("=")[0] for p in parameters.split(", ") if p)
    text = f"{CLASSIFIER}def model({parameters}): return S(**empty, got=({names}{',' if names else ''}))"
    assert load(tmp_path, text).got == got


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\n\nmodel = 1 / 0", r"mine\.py:3: ZeroDivisionError: division by zero"),
        ("def model():\n    return undefined", r"mine\.py:2: NameError: name 'undefined'"),
        ("x = 1\nmodel = (", r"mine\.py:2: '\(' was never closed"),
        ("network = 1", r"must define `model`.* got NoneType without images, labels, logits, loss, accuracy"),
        ("model = 'lenet5'", "got str without images"),
    ],
)
def test_a_mistake_in_the_file_is_reported_with_its_line(tmp_path, text, message):
    with pytest.raises(GraphcError, match=message):
        load(tmp_path, text)


def test_errors_of_the_engine_pass_unchanged(tmp_path):
    with pytest.raises(ShapeError, match="does not fit"):
        load(tmp_path, "from graphc.errors import ShapeError\nraise ShapeError('does not fit')")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(GraphcError, match=r"absent\.py does not exist"):
        classifier_of(tmp_path / "absent.py")
