"""The command line around a compiler of the tests' own: arguments, output, exit codes."""

import ast
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import graphc.models
import graphc.pipeline
from graphc import cli
from graphc.errors import InputError, LoweringError
from graphc.programs import Segment
from graphc.runtime.cache import Cache
from graphc.train.checkpoints import weights
from graphc.train.schedules import cosine

TENSORS = {name: SimpleNamespace(name=name) for name in ("images", "labels", "logits", "loss", "accuracy")}


class Compiler:
    """Programs that always answer class 0, with one parameter; records how it was asked."""

    def __init__(self):
        self.asked = {}
        self.steps = 0
        self.error = None
        weight = SimpleNamespace(shape=(10, 64), value=np.zeros((10, 64)), trainable=True)
        self.parameters = {"output.weight": weight}

    def compile_training(self, loss, **options):
        self.asked |= options
        return Program(self, options["optimizer"])

    def compile_inference(self, outputs, *, threads=None):
        return Inference()

    def text(self, stage, scope=None):
        return f"training {stage} {scope} lr={self.asked['optimizer'].lr}"

    def step(self, images, labels):
        if self.error is not None and self.steps == 40:
            raise self.error
        self.steps += 1
        return {"loss": 1 / self.steps, "accuracy": 0.5}

    def segments(self, data, batch_size, *, order):
        images, labels = data.values()
        order = np.arange(len(labels)) if order is None else order
        for first in range(0, len(order), batch_size):
            rows = order[first : first + batch_size]
            numbers = self.step(images[rows], labels[rows])
            yield Segment({name: np.array([v]) for name, v in numbers.items()}, np.array([len(rows)]))


class Program:
    """A training step that takes as long as the compiler says."""

    compile_seconds = 1.234

    def __init__(self, compiler, optimizer):
        self.compiler, self.optimizer, self.threads = compiler, optimizer, compiler.asked["threads"] or 2
        self.segments, self.text, self.parameters = compiler.segments, compiler.text, compiler.parameters

    @property
    def steps(self):
        return self.compiler.steps

    def check(self, arrays):
        assert list(arrays) == ["images", "labels"]

    def explain(self):
        return "three kernels, nothing refused"


class Inference:
    def check(self, arrays):
        assert list(arrays) == ["images", "labels"]

    def __call__(self, images, labels):
        assert abs(images.mean()) < 0.3
        return {"loss": 0.5, "accuracy": np.mean(labels == 0)}

    def text(self, stage, scope=None):
        return f"inference {stage} {scope}"

    def explain(self):
        return "inference, one kernel"


@pytest.fixture
def compiler(monkeypatch):
    compiler = Compiler()
    for name in ("compile_training", "compile_inference"):
        monkeypatch.setattr(graphc.pipeline, name, getattr(compiler, name))
    monkeypatch.setattr(graphc.models, "lenet5", lambda image_shape, classes: SimpleNamespace(**TENSORS))
    return compiler


@pytest.fixture
def run(capsys):
    """Runs a command; returns its exit code, output and errors."""

    def run(*arguments):
        with pytest.raises(SystemExit) as exit:
            cli.main([str(a) for a in arguments])
        captured = capsys.readouterr()
        return exit.value.code, captured.out, captured.err

    return run


def test_training_says_what_happens(run, compiler):
    code, out, err = run("train", "--epochs", 2)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "data   digits: 1,198 training and 599 held-out images of 1x8x8, 10 classes"
    assert lines[1] == "model  lenet5: 640 parameters"
    assert re.fullmatch(r"compiled in 1\.23 s for \d+ threads?", lines[2])
    assert lines[3].startswith("epoch 1/2  loss ")
    assert lines[4].startswith("epoch 2/2  loss ")
    assert "held-out accuracy 9.85% (59 of 599 images), loss 0.5000, after 150 steps" in lines[5]
    assert compiler.steps == 2 * -(-1198 // 16)


def test_options_reach_the_compiler(run, compiler):
    options = ("--optimizer", "momentum", "--lr", 0.25, "--threads", 1, "--seed", 7, "--batch-size", 1198)
    code, out, _ = run("train", "lenet5", "--epochs", 1, *options)
    assert code == 0
    assert (compiler.asked["threads"], compiler.asked["seed"]) == (1, 7)
    assert (compiler.asked["optimizer"].lr, compiler.asked["optimizer"].momentum) == (cosine(0.25), 0.9)
    assert compiler.steps == 1
    assert "for 1 thread\n" in out
    assert "after 1 step " in out


@pytest.mark.parametrize(("name", "rate"), cli.RATES.items())
def test_every_optimiser_has_its_own_rate(run, compiler, name, rate):
    options = ("--optimizer", name, "--schedule", "constant")
    assert run("train", "--epochs", 1, "--batch-size", 999, *options)[0] == 0
    assert compiler.asked["optimizer"].lr == rate


def test_what_was_learnt_is_saved_with_the_normalisation(run, compiler, tmp_path):
    path = tmp_path / "weights.npz"
    code, out, _ = run("train", "--epochs", 1, "--save", path)
    assert code == 0
    assert out.endswith(f"saved  {path}\n")
    extras = weights.extras(path)
    assert extras.keys() == {"input.mean", "input.deviation"}
    assert 0.2 < extras["input.mean"] < 0.4 < extras["input.deviation"] + 0.1


def test_epochs_are_validated_logged_and_shown_as_asked(run, compiler, tmp_path):
    path = tmp_path / "log.csv"
    options = ("--validation-split", 0.25, "--augment", "--log", path, "--verbose", 0, "--schedule", "one-cycle")
    code, out, _ = run("train", "--epochs", 2, "--batch-size", 100, *options)
    assert code == 0
    assert "epoch" not in out
    head, *rows = path.read_text().splitlines()
    assert head == "epoch,loss,accuracy,val_loss,val_accuracy,lr,seconds"
    assert [row.split(",")[0] for row in rows] == ["1", "2"]
    assert compiler.steps == 2 * 9  # of 898 images


def test_a_directory_that_is_not_there_is_noticed_before_training(run, compiler, tmp_path):
    code, _, err = run("train", "--save", tmp_path / "absent" / "weights.npz")
    assert code == 2
    assert "does not exist" in err
    assert compiler.steps == 0


def test_an_interrupt_reports_and_saves_what_was_learnt(run, compiler, tmp_path):
    compiler.error = KeyboardInterrupt()
    code, out, _ = run("train", "--epochs", 3, "--save", tmp_path / "weights.npz")
    assert code == 130
    assert "stopped after 40 steps, in epoch 1; what was learnt is kept" in out
    assert "held-out accuracy" in out
    assert (tmp_path / "weights.npz").is_file()


def test_an_interrupt_elsewhere_exits_with_130(run, monkeypatch):
    def interrupted(**_):
        raise KeyboardInterrupt

    monkeypatch.setattr(graphc.models, "lenet5", interrupted)
    code, _, err = run("dump", "lenet5")
    assert code == 130
    assert err.split() == ["stopped"]


def test_an_error_is_one_message_without_a_traceback(run, compiler):
    compiler.error = InputError("labels: 12 is not in 0..9", hint="the model has 10 classes")
    code, _, err = run("train")
    assert code == 1
    assert err == "graphc: InputError: labels: 12 is not in 0..9\n  hint: the model has 10 classes\n"


def test_debug_shows_where_an_error_came_from(compiler):
    compiler.error = LoweringError("no loops for this")
    with pytest.raises(LoweringError, match="no loops"):
        cli.main(["--debug", "train"])


@pytest.mark.parametrize("stage", cli.STAGES)
def test_a_stage_is_printed(run, compiler, stage):
    assert run("dump", "lenet5", "--stage", stage) == (0, f"training {stage} None lr=0.002\n", "")


def test_a_stage_of_one_layer_and_of_inference(run, compiler):
    arguments = ("dump", "lenet5", "--stage", "loops", "--scope", "conv1", "--inference")
    assert run(*arguments) == (0, "inference loops conv1\n", "")


def test_the_compiler_explains_itself(run, compiler):
    assert run("explain", "lenet5") == (0, "three kernels, nothing refused\n", "")
    assert run("explain", "lenet5", "--inference") == (0, "inference, one kernel\n", "")


def test_kernels_are_measured(run):
    code, out, _ = run("profile", "perceptron", "--batch", 4, "--threads", 1, "--repeats", 2, "--top", 3)
    assert code == 0
    assert out.startswith("training, batch 4, 1 thread: ")
    assert re.search(r"^  kernel +layer +time .* strategy$", out, re.MULTILINE)
    assert " more: " in out


def test_a_model_comes_from_a_file_of_the_user(run, compiler, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "from types import SimpleNamespace as S\n"
        "def model(image_shape, classes):\n"
        "    assert (image_shape, classes) == ((1, 28, 28), 10)\n"
        "    return S(**{n: S(name=n) for n in 'images labels logits loss accuracy'.split()})\n"
    )
    assert run("dump", path, "--data", "mnist")[:2] == (0, "training graph None lr=0.002\n")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("train", "resnet"), 2, "'resnet' is neither lenet5, mlp, perceptron nor a file that ends in .py"),
        (("train", "absent.py"), 1, "graphc: GraphcError: absent.py does not exist"),
        (
            ("train", "--data", "mnist", "--data-dir", "/nowhere"),
            1,
            "data set mnist was not found: put the four",
        ),
        (("train", "--epochs", 0), 2, "--epochs"),
        (("train", "--resume"), 2, "it needs --checkpoint DIRECTORY"),
        (("train", "--log", "epochs.txt"), 2, "epochs.txt must end in .csv or .json or .jsonl"),
        (("train", "--save", "weights.pt"), 2, "weights.pt must end in .safetensors or .npz"),
        (("train", "--validation-split", 1), 2, "--validation-split"),
        (("train", "--lr", -1), 1, "lr must be in 0 <= lr < inf, got -1"),
        (("dump", "lenet5", "--stage", "soup"), 2, "'soup' is not one of"),
        (("bake",), 2, "No such command 'bake'"),
    ],
)
def test_wrong_usage_is_answered_with_the_reason(run, compiler, arguments, code, message):
    got, _, err = run(*arguments)
    assert got == code
    assert message in " ".join(err.split())
    assert "Traceback" not in err


def test_the_environment_is_described(run):
    code, out, _ = run("env")
    assert code == 0
    rows = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert rows["numpy"] == np.__version__
    assert rows["python"].startswith(".".join(map(str, sys.version_info[:3])))
    assert int(rows["threads"]) >= 1
    assert "vectors" in rows["processor"]


def test_operators_are_listed_and_shown(run):
    code, out, _ = run("operators")
    assert code == 0
    assert re.search(r"^dense +Y\[", out, re.MULTILINE)
    code, out, _ = run("operators", "dense")
    assert code == 0
    assert out.startswith("### dense\n")
    assert r"\bar{W}" in out
    code, _, err = run("operators", "dens")
    assert code == 1
    assert "there is no operator dens\n  hint: did you mean dense" in err


def test_the_version_is_that_of_the_package(run):
    code, out, _ = run("--version")
    assert code == 0
    assert out.split()[0] == "graphc"


def test_the_command_line_itself_imports_nothing_heavy():
    tree = ast.parse(Path(cli.__file__).read_text("utf-8"))
    imported = {
        n.module if isinstance(n, ast.ImportFrom) else n.names[0].name
        for n in tree.body
        if isinstance(n, ast.Import | ast.ImportFrom)
    }
    assert imported == {"__future__", "collections.abc", "click", "pathlib", "sys", "typing"}


def test_gradients_are_compared(run):
    code, out, _ = run("check", "perceptron", "--samples", 2)
    assert code == 0
    assert out.splitlines()[-1].startswith("gradients agree with central differences")
    assert "output.weight" in out


def test_wrong_gradients_are_reported_by_the_exit_code(run, monkeypatch):
    from graphc.study import check

    wrong = check.Row("output.weight", (64, 10), 20, 0, 0.5, (0, 1), 1.5, 1.0)
    monkeypatch.setattr(check, "check_gradients", lambda loss, arrays, seed: check.Report(2.0, (wrong,)))
    code, out, _ = run("check", "perceptron")
    assert code == 1
    assert "WRONG at [0,1]" in out


def test_the_cache_is_listed_and_cleared(run, monkeypatch, tmp_path):
    monkeypatch.setenv("GRAPHC_CACHE", "1")
    monkeypatch.setenv("GRAPHC_CACHE_DIR", str(tmp_path))
    assert run("cache", "path") == (0, f"{tmp_path}\n", "")
    assert run("cache", "ls")[1].startswith("0 entries, 0 of 1,073,741,824 bytes, in ")
    cache = Cache(tmp_path)
    cache.put("a" * 64, "object", bytes(1000))
    cache.put("b" * 64, "program", b"x")
    code, text, _ = run("cache", "ls")
    *rows, total = text.splitlines()
    assert code == 0
    assert sorted(row.split()[-2:] for row in rows) == [["object", 12 * "a"], ["program", 12 * "b"]]
    assert total.startswith(f"2 entries, {sum(f.stat().st_size for f in tmp_path.iterdir()):,} of ")
    assert run("cache", "clear") == (0, "removed 2 entries\n", "")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setenv("GRAPHC_CACHE", "0")
    assert run("cache", "ls")[1] == "not in use: GRAPHC_CACHE turns it off\n"
