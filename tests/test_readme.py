"""The README's code runs and its commands exist."""

import re
from pathlib import Path

import numpy as np
import pytest

import graphc as gc
from graphc import cli

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
OPERATOR, MODEL = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_the_operator_is_a_convolution():
    namespace = {"gc": gc}
    exec(OPERATOR, namespace)
    image = np.random.default_rng(0).standard_normal((2, 3, 7, 6))
    weight = gc.Parameter("weight", (4, 3, 3, 2), "he_normal")
    result = namespace["conv2d"](gc.input("image", (gc.BATCH, 3, 7, 6)), weight)
    got = gc.compile_inference(result)(image=image.astype(np.float32))
    assert got.shape == (2, 4, 5, 5)
    y, x = 3, 2
    window = image[:, :, y : y + 3, x : x + 2]
    np.testing.assert_allclose(got[:, :, y, x], np.einsum("ncrq,kcrq->nk", window, weight.value), rtol=1e-4, atol=1e-5)


def test_the_model_trains_and_can_be_read(capsys):
    namespace = {}
    exec(MODEL, namespace)
    out = capsys.readouterr().out
    assert "epoch 10/10" in out
    test = namespace["test"]
    assert namespace["model"].evaluate(test.images, test.labels)["accuracy"] > 0.9
    assert "conv1" in out


def test_the_table_lists_the_stages_of_the_command():
    assert tuple(re.findall(r"^\| `(\w+)` \|", README, re.MULTILINE)) == cli.STAGES


@pytest.mark.parametrize("path", re.findall(r"\]\((?!http)([^)#]+)\)", README))
def test_links_lead_somewhere(path):
    assert (ROOT / path).exists()
