"""The notebooks are valid, hold no output, and their cells run in a reduced form and reach what they say."""

from __future__ import annotations

import json
import re
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"

CLAIMS: dict[str, dict[str, tuple[float, float]]] = {
    "perceptron": {
        r"mistakes in each epoch: (\d+)": (1, 60),
        r"mistakes in each epoch: .* (\d+)\n": (0, 0),
        r"wrong in the end: ([\d.]+)%": (0, 0),
        r"wrong corners of exclusive or: (\d)": (1, 4),
    },
    "mlp": {r"accuracy on 599 images that were held out: ([\d.]+)%": (95, 100)},
    "lenet5": {r"accuracy on 599 images that were held out: ([\d.]+)%": (95, 100)},
    "character_lstm": {
        r"frequencies alone: perplexity ([\d.]+)": (15, 30),
        r"held-out text: perplexity ([\d.]+)": (2, 10),
    },
    "curve_fitting": {
        r"(\d+) iterations: the loss can fall": (1, 60),
        r"sum of squares ([\d.]+)": (5642.7082396, 5642.7082398),
        r"from the certified parameters ([\d.e-]+)": (0, 1e-6),
        r"largest / smallest eigenvalue: ([\d.e+]+)": (1e9, 1e11),
    },
    "logistic_regression": {
        r"accuracy on the test images: ([\d.]+)%": (98, 100),
        r"gradient descent ([\d.]+), L-BFGS": (0.05, 0.3),
        r"gradient descent .*, L-BFGS ([\d.]+)": (0.0166, 0.0168),
    },
}
"""What a notebook prints, as patterns of numbers, and between which bounds these are."""


def cells(name: str) -> list[str]:
    """The source of the code cells."""
    notebook = json.loads((EXAMPLES / f"{name}.ipynb").read_text("utf-8"))
    return ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]


def test_every_notebook_is_run_here() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.ipynb")} == set(CLAIMS)


@pytest.mark.parametrize("name", CLAIMS)
def test_a_notebook_is_valid_and_fits_on_a_few_screens(name: str) -> None:
    nbformat = pytest.importorskip("nbformat")
    notebook = nbformat.read(EXAMPLES / f"{name}.ipynb", as_version=4)
    nbformat.validate(notebook)
    assert len(notebook.cells) <= 14
    assert notebook.cells[0].source.startswith("# ")
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in code)


@pytest.mark.parametrize("name", CLAIMS)
def test_a_notebook_reaches_what_it_says(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GRAPHC_REDUCED", "1")
    monkeypatch.setenv("GRAPHC_NUM_THREADS", "1")
    monkeypatch.setenv("MPLBACKEND", "Agg")
    namespace: dict[str, object] = {"__name__": name}
    with redirect_stdout(StringIO()) as out:
        for number, source in enumerate(cells(name), 1):
            exec(compile(source, f"{name}.ipynb, code cell {number}", "exec", dont_inherit=True), namespace)
    if plt := namespace.get("plt"):
        plt.close("all")  # type: ignore[attr-defined]
    for pattern, (least, most) in CLAIMS[name].items():
        found = re.search(pattern, out.getvalue())
        assert found, f"{name} does not print {pattern}"
        assert least <= float(found[1]) <= most
