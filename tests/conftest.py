"""Golden texts: `assert text == golden` compares with a file that is kept beside the tests."""

from __future__ import annotations

import os
import re
from difflib import unified_diff
from pathlib import Path

import pytest

os.environ["GRAPHC_CACHE"] = "0"  # what a test compiles is compiled, and the user's cache stays as it is

GOLDEN = Path(__file__).parent / "golden"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write the golden files anew")


class Golden:
    """The kept text of one test. Comparing with another text fails with a diff; a missing file fails too."""

    __hash__ = None

    def __init__(self, path: Path, update: bool) -> None:
        self.path, self.update, self.compared = path, update, False

    def __eq__(self, text: object) -> bool:
        assert isinstance(text, str), f"a golden text is compared with {type(text).__name__}"
        assert not self.compared, "a test has one golden text; join the parts"
        self.compared = True
        if self.update:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_text(text, encoding="utf-8")
            return True
        if not self.path.exists():
            pytest.fail(f"{self.path} is missing: run this test with --update-golden and read the file")
        kept = self.path.read_text(encoding="utf-8")
        if kept != text:
            lines = (kept.splitlines(keepends=True), text.splitlines(keepends=True))
            pytest.fail("".join(unified_diff(*lines, str(self.path), "this run")), pytrace=False)
        return True


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Golden:
    """The golden text of a test, in tests/golden/<file of the test>/<name of the test>.txt."""
    name = re.sub(r"[^\w.=+-]+", "_", request.node.name).strip("_")
    path = GOLDEN / Path(request.node.path).stem / f"{name}.txt"
    return Golden(path, request.config.getoption("--update-golden"))
