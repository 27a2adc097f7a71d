"""The command line: train a model, read every stage of its compilation, check its gradients."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

# A command imports what it needs when it runs: `graphc --help` answers at once.
if TYPE_CHECKING:
    from graphc.train.data import Dataset
    from graphc.train.optimisers import Optimizer

MODELS = ("lenet5", "mlp", "perceptron")
DATA = ("digits", "fashion-mnist", "mnist")
STAGES = ("math", "latex", "derivatives", "graph", "kernels", "loops", "vectors", "llvm", "asm")
RATES = {
    "sgd": 0.1, "momentum": 0.02, "nesterov": 0.02, "adagrad": 0.02, "adadelta": 1.0, "rmsprop": 1e-3, "adam": 2e-3,
    "adamw": 2e-3, "nadam": 2e-3, "radam": 2e-3, "adamax": 4e-3, "rprop": 1e-3, "lion": 2e-4,
}  # fmt: skip
"""The learning rate of each optimiser unless --lr is given."""

SCHEDULES = ("constant", "cosine", "one-cycle")

SHARE = click.FloatRange(0, 1, max_open=True)
FILE, DIRECTORY = click.Path(dir_okay=False, path_type=Path), click.Path(file_okay=False, path_type=Path)

INTERRUPTED = 130
"""The exit code after Ctrl-C: 128 + the number of the signal."""


def _show_version(context: click.Context, _: click.Parameter, asked: bool) -> None:
    if asked:
        from graphc.study.environment import version

        click.echo(f"graphc {version('graphc')}")
        context.exit()


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_show_version,
    help="Show the version and exit.",
)  # fmt: skip
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def cli(debug: bool) -> None:
    """Train networks that are compiled from index-notation formulas, and read how.

    MODEL is lenet5, mlp, perceptron or a Python file. The file defines `model`: a classifier as those of
    graphc.models, or a function of image_shape and classes (or one of them, or
    neither) that returns one.
    """


def _options(*options: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Several options as one decorator, in the order of the help text."""

    def decorate(command: Any) -> Any:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


_data = click.option(
    "--data", type=click.Choice(DATA), default="digits", show_default=True,
    help="Data set; it decides the shape of the images.",
)  # fmt: skip
_threads = click.option(
    "--threads", type=click.IntRange(1), help="Threads of the native code; default: all usable cores."
)
_seed = click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of everything that is random."
)
_update = _options(
    click.option("--optimizer", type=click.Choice(tuple(RATES)), default="adam", show_default=True),
    click.option("--lr", type=float, help="Learning rate; default: one that suits the optimizer."),
)


@cli.command()
@click.argument("model", default="lenet5")
@_data
@click.option("--data-dir", type=click.Path(path_type=Path), help="Directory of the data set's IDX files.")
@click.option("--epochs", type=click.IntRange(1), default=20, show_default=True)
@click.option("--batch-size", type=click.IntRange(1), default=16, show_default=True)
@_update
@click.option(
    "--schedule", type=click.Choice(SCHEDULES), default="cosine", show_default=True, help="Course of the rate."
)
@click.option("--validation-split", type=SHARE, default=0.0, help="Share of the images to validate each epoch with.")
@click.option("--augment", is_flag=True, help="Shift each image at random whenever it is used.")
@_threads
@_seed
@click.option("--checkpoint", type=DIRECTORY, help="Write checkpoints into DIRECTORY.")
@click.option("--resume", is_flag=True, help="Go on from the last checkpoint in that directory.")
@click.option("--log", "log_file", type=FILE, help="Write the epochs to FILE.csv or FILE.json.")
@click.option("--save", type=FILE, help="Write the parameters to FILE.safetensors or FILE.npz.")
@click.option("--verbose", type=click.IntRange(0, 2), default=1, help="0: no epochs, 1: a live line, 2: plain lines.")
@click.pass_context
def train(
    context: click.Context, model: str, data: str, data_dir: Path | None, epochs: int, batch_size: int,
    optimizer: str, lr: float | None, schedule: str, validation_split: float, augment: bool, threads: int | None,
    seed: int, checkpoint: Path | None, resume: bool, log_file: Path | None, save: Path | None, verbose: int,
) -> None:  # fmt: skip
    """Train MODEL (lenet5 unless given) and report its accuracy on held-out images."""
    from math import prod

    from graphc.train import choices
    from graphc.train.checkpoints.arrays import FORMATS
    from graphc.train.checkpoints.callback import Checkpoint
    from graphc.train.data import Normalisation, augmented, load, split
    from graphc.train.data.augment import RandomCrop
    from graphc.train.trainer import Model

    for option, path, endings in (("--save", save, FORMATS), ("--log", log_file, choices.LOGS)):
        if path is not None and not path.absolute().parent.is_dir():
            raise click.BadParameter(f"directory {path.parent} does not exist", param_hint=option)
        if path is not None and path.suffix not in endings:
            raise click.BadParameter(f"{path} must end in {' or '.join(endings)}", param_hint=option)
    if resume and checkpoint is None:
        raise click.BadParameter("it needs --checkpoint DIRECTORY, where the checkpoints are", param_hint="--resume")
    training, held_out = load(data, data_dir)
    click.echo(f"data   {_described(training, held_out)}")
    network = Model(_classifier(model, training.image_shape, training.classes))
    parts = split(training, validation_split, seed) if validation_split else (training,)
    normalisation = Normalisation.fit(parts[0])
    training, held_out, *validation = map(normalisation.apply, (parts[0], held_out, *parts[1:]))
    program = network.compile(_optimiser(optimizer, lr, schedule), threads=threads, seed=seed)
    click.echo(f"model  {model}: {sum(prod(p.shape) for p in program.parameters.values()):,} parameters")
    click.echo(f"compiled in {program.compile_seconds:.2f} s for {_plural(program.threads, 'thread')}")
    shifted = augmented(training, RandomCrop(padding=max(1, training.image_shape[-1] // 14)))
    logs: list[Any] = [choices.LOGS[log_file.suffix](log_file)] if log_file is not None else []
    logs += [Checkpoint(checkpoint)] if checkpoint is not None else []
    history = network.fit(
        shifted if augment else training, epochs=epochs, batch_size=batch_size, callbacks=logs,
        validation_data=validation[0] if validation else None, resume=checkpoint if resume else None,
        threads=threads, seed=seed, verbose=verbose,
    )  # fmt: skip
    scores = network.evaluate(held_out.images, held_out.labels, threads=threads)
    share, count = scores["accuracy"], len(held_out)
    click.echo(
        f"held-out accuracy {share:.2%} ({round(share * count)} of {count} images), "
        f"loss {scores['loss']:.4f}, after {_plural(history.steps, 'step')} in {history.seconds:.1f} s"
    )
    if save is not None:
        network.save(save, **{"input.mean": normalisation.mean, "input.deviation": normalisation.deviation})
        click.echo(f"saved  {save}")
    if history.interrupted:
        context.exit(INTERRUPTED)


@cli.command()
@click.argument("model")
@click.option("--stage", type=click.Choice(STAGES), default="graph", show_default=True, help="What to print.")
@click.option("--scope", help="Only this layer, such as conv1.")
@click.option("--inference", is_flag=True, help="The inference program instead of the training step.")
@_data
@_update
@_threads
def dump(
    model: str, stage: str, scope: str | None, inference: bool, data: str, optimizer: str, lr: float | None,
    threads: int | None,
) -> None:  # fmt: skip
    """Print one stage of MODEL's compilation, from the formulas to the machine code."""
    program = _compiled(model, data, inference, _optimiser(optimizer, lr), threads)
    click.echo(program.text(stage, scope))


@cli.command()
@click.argument("model")
@click.option("--inference", is_flag=True, help="The inference program instead of the training step.")
@_data
@_update
@_threads
def explain(model: str, inference: bool, data: str, optimizer: str, lr: float | None, threads: int | None) -> None:
    """Say what the compiler made of MODEL and why: kernels, layouts, memory, refusals."""
    click.echo(_compiled(model, data, inference, _optimiser(optimizer, lr), threads).explain())


@cli.command()
@click.argument("model")
@click.option("--batch", type=click.IntRange(1), default=64, show_default=True, help="Images in the batch.")
@click.option("--repeats", type=click.IntRange(1), default=20, show_default=True, help="Steps at least.")
@click.option("--top", type=click.IntRange(1), help="Only so many kernels and layers.")
@click.option("--inference", is_flag=True, help="The inference program instead of the training step.")
@_data
@_update
@_threads
def profile(
    model: str, batch: int, repeats: int, top: int | None, inference: bool, data: str, optimizer: str,
    lr: float | None, threads: int | None,
) -> None:  # fmt: skip
    """Measure every kernel of MODEL in real steps on random images, beside what is predicted for it."""
    program = _compiled(model, data, inference, _optimiser(optimizer, lr), threads)
    click.echo(program.profile(repeats=repeats, **program.noise(batch)).text(top))


@cli.command()
@click.argument("model", required=False)
@click.option("--samples", type=click.IntRange(1), default=3, show_default=True, help="Images in the batch.")
@click.option("--density", type=click.IntRange(1), default=4, show_default=True, help="Numbers of each exponent.")
@_data
@_seed
@click.pass_context
def check(context: click.Context, model: str | None, samples: int, density: int, data: str, seed: int) -> None:
    """Compare MODEL's compiled gradients with central differences, in float64, on random images.

    Without MODEL, compare every scalar function of the catalogue and its derivative with the true values, over the
    range of float32. The exit code is 1 if gradients disagree, or a result is not finite although the true value is.
    """
    if model is None:
        from graphc.study.numerics import report as numerics
        from graphc.study.numerics import sweep

        rows = sweep(density=density)
        click.echo(numerics(rows))
        right = not any(row.wrong for row in rows)
    else:
        report = _checked(model, samples, data, seed)
        click.echo(report)
        right = report.ok
    if not right:
        context.exit(1)


@cli.command()
@click.argument("functions", nargs=-1)
@click.option(
    "--stride", type=click.IntRange(1), default=1009, show_default=True,
    help="Take every n-th of the 2^32 float32 numbers; 1 takes all, a minute or two for each function.",
)  # fmt: skip
@click.pass_context
def accuracy(context: click.Context, functions: tuple[str, ...], stride: int) -> None:
    """Compare compiled scalar FUNCTIONS (all unless given) with the true values.

    The exit code is 1 if a result is NaN, infinite or of the wrong sign where it must not be.
    """
    from graphc.study.accuracy import SUBJECTS, report, sweep

    rows = [sweep(name, stride) for name in functions or SUBJECTS]
    click.echo(report(rows))
    if any(row.wrong for row in rows):
        context.exit(1)


@cli.command()
def env() -> None:
    """Print versions, processor and threads: what a bug report should hold."""
    from graphc.study.environment import environment

    click.echo(environment())


@cli.command()
@click.argument("name", required=False)
@click.option("--write", is_flag=True, help="Write docs/operators.md anew.")
def operators(name: str | None, write: bool) -> None:
    """List the operators of the catalogue, or print NAME's formula, derived adjoints, shapes and options."""
    from graphc.study import catalogue

    if write:
        catalogue.write()
        click.echo(f"wrote  {catalogue.PAGE}")
    elif name is not None:
        click.echo(catalogue.entry_text(catalogue.find(name)), nl=False)
    else:
        click.echo(catalogue.listing())


@cli.group()
def cache() -> None:
    """The compiled code that is kept between runs.

    GRAPHC_CACHE=0 turns it off, GRAPHC_CACHE_DIR and GRAPHC_CACHE_MB say where it is and how large it may become.
    """


@cache.command("path")
def cache_path() -> None:
    """Print the directory."""
    from graphc.runtime.cache import cache_directory

    click.echo(cache_directory())


@cache.command("ls")
def cache_ls() -> None:
    """List what is kept, the last used first."""
    from datetime import datetime

    from graphc.runtime.cache import open_cache

    opened = open_cache()
    entries = opened.entries()
    for entry in entries:
        used = datetime.fromtimestamp(entry.used).isoformat(" ", "seconds")
        click.echo(f"{used}  {entry.size:>10,}  {entry.kind:<8} {entry.path.name[:12]}")
    if opened.problem or opened.directory is None:
        click.echo(f"not in use: {opened.problem or 'GRAPHC_CACHE turns it off'}")
    else:
        kept = "entry" if len(entries) == 1 else "entries"
        size = sum(e.size for e in entries)
        click.echo(f"{len(entries):,} {kept}, {size:,} of {opened.limit:,} bytes, in {opened.directory}")


@cache.command("clear")
def cache_clear() -> None:
    """Remove everything that is kept."""
    from graphc.runtime.cache import Cache, cache_directory

    removed = Cache(cache_directory()).clear()
    click.echo(f"removed {removed:,} {'entry' if removed == 1 else 'entries'}")


# -------------------------------------------------------------------------------------------------- pieces


def _classifier(spec: str, image_shape: tuple[int, int, int], classes: int) -> Any:
    """The model of a name or of a user's file."""
    import graphc.models

    if spec in MODELS:
        return getattr(graphc.models, spec)(image_shape=image_shape, classes=classes)
    if spec.endswith(".py"):
        from graphc.train.userfile import classifier_of

        return classifier_of(Path(spec), image_shape=image_shape, classes=classes)
    raise click.BadParameter(f"{spec!r} is neither {', '.join(MODELS)} nor a file that ends in .py", param_hint="MODEL")


def _checked(model: str, samples: int, data: str, seed: int) -> Any:
    """The comparison of a model's gradients with differences."""
    import numpy as np

    from graphc.study.check import check_gradients, in_float64
    from graphc.train.data import SHAPES

    image_shape, classes = SHAPES[data]
    classifier = _classifier(model, image_shape, classes)
    generator = np.random.default_rng(seed)
    images = generator.standard_normal((samples, *image_shape))
    labels = generator.integers(classes, size=samples)
    arrays = {classifier.images.name: images, classifier.labels.name: labels}
    return check_gradients(in_float64(classifier.loss), arrays, seed=seed)


def _compiled(model: str, data: str, inference: bool, optimizer: Optimizer, threads: int | None) -> Any:
    """The program of a model, for images of a data set that need not be there."""
    from graphc.pipeline import compile_inference
    from graphc.train.data import SHAPES
    from graphc.train.trainer import Model

    classifier = _classifier(model, *SHAPES[data])
    if inference:
        return compile_inference(classifier.logits, threads=threads)
    return Model(classifier).compile(optimizer, threads=threads)


def _optimiser(name: str, lr: float | None, schedule: str = "constant") -> Optimizer:
    """The optimiser of a name, at its own rate unless another is given."""
    from graphc.train.choices import optimiser

    return optimiser(name, RATES[name] if lr is None else lr, schedule)


def _described(training: Dataset, held_out: Dataset) -> str:
    """`digits: 1,198 training and 599 held-out images of 1x8x8, 10 classes`"""
    shape = "x".join(map(str, training.image_shape))
    counts = f"{len(training):,} training and {len(held_out):,} held-out images"
    return f"{training.name}: {counts} of {shape}, {training.classes} classes"


def _plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def main(arguments: list[str] | None = None) -> None:
    """Run a command and exit: 0 done, 1 failed with one message, 2 wrong usage, 130 stopped by Ctrl-C."""
    from graphc.errors import GraphcError

    given = sys.argv[1:] if arguments is None else arguments
    try:
        code = cli.main(given, prog_name="graphc", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except click.Abort:
        click.echo("stopped", err=True)
        code = INTERRUPTED
    except GraphcError as error:
        if "--debug" in given:
            raise
        click.echo(f"graphc: {type(error).__name__}: {error}", err=True)
        code = 1
    sys.exit(code if isinstance(code, int) else 0)
