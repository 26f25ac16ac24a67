"""Command line: parse, call one function, print."""

from __future__ import annotations

import io
import logging
import os
import sys
import warnings
from pathlib import Path
from typing import Any

from netsurgeon.pipeline.errors import INTERRUPTED

try:
    import click

    from netsurgeon import __version__
    from netsurgeon.passes.solvers import METHODS
    from netsurgeon.pipeline import terminal
    from netsurgeon.pipeline.compare import compare_all
    from netsurgeon.pipeline.compress import compress
    from netsurgeon.pipeline.errors import InputError, after_delivery
    from netsurgeon.pipeline.inspect import inspect_model, inspect_units
    from netsurgeon.pipeline.inspect_quantization import inspect_quantization
    from netsurgeon.pipeline.inspect_sensitivity import check_picture_path, draw_sensitivity, inspect_sensitivity
    from netsurgeon.pipeline.messages import printable
    from netsurgeon.pipeline.model_files import bytes_on_disk, write_text
    from netsurgeon.pipeline.options import (
        EFFORTS,
        IMPORTANCES,
        NAMES,
        PREFERENCES,
        QUANTIZE_MODES,
        RANGES,
        SAVINGS,
        TARGETS,
        VALUES,
    )
    from netsurgeon.pipeline.profiling import profile
    from netsurgeon.pipeline.report import Tracker
    from netsurgeon.pipeline.runtime import OPTIMISATIONS
    from netsurgeon.pipeline.terminal import (
        STANDARD_OUTPUT,
        Console,
        Data,
        FilePath,
        batch_sizes,
        check_files,
        check_page,
        classes_option,
        data_options,
        explain,
        layer_sparsities,
        model_file,
        output_options,
        picture_options,
        print_export,
        print_profile,
        print_retraining,
        print_training,
        recipe_option,
        run_options,
        shapes,
        show_result,
        stop_at_signals,
        verbose_option,
        with_pictures,
    )
    from netsurgeon.pipeline.training import RETRAIN_MODES, VALIDATION, export, retrain, train
    from netsurgeon.pipeline.unpack import unpack
    from netsurgeon.pipeline.view import view
except KeyboardInterrupt:  # numpy, scipy and onnx take a second or more to load
    sys.stderr.write(f"error: {INTERRUPTED}\n")
    sys.exit(130)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="netsurgeon")
def cli() -> None:
    """Compress a trained ONNX model with a few hundred of its inputs, verified in ONNX Runtime."""


@cli.command("compress")
@verbose_option
@click.argument("model", type=FilePath())
@click.option(
    "--data",
    type=Data(),
    required=True,
    help="Calibration inputs: npz, npy, folder, zip, module:function or random[:N].",
)
@click.option("--test", help="Inputs of the final measurement. [default: a held-out part of --data]")
@click.option("-o", "--output", required=True, type=FilePath(), help="Where the model goes; - for stdout.")
@click.option("--report", type=FilePath(), help="Where the report goes: .html or .json; - prints JSON.")
@click.option("--max-drop", help="Goal: metric lost at most, e.g. 1%. [default: 1% without goal, --sparsity, --trim …]")
@click.option("--speedup", help="Goal: times as fast at least, e.g. 2.")
@click.option("--latency", help="Goal: time of a run at most, e.g. 5ms.")
@click.option("--max-size", help="Goal: size of the file at most, e.g. 500KB.")
@click.option("--max-macs", help="Goal: multiply-adds of a sample at most, e.g. 40M.")
@click.option(
    "--sparsity",
    type=float,
    help="Share of prunable weights to remove, not a goal. [default: 0.5 with --layer]",
)
@click.option("--trim", help="Share of the parameters to remove by removing units: 0.3, or up-to:0.3.")
@click.option("--importance", type=click.Choice(IMPORTANCES), default="obs", show_default=True, help="Which units go.")
@click.option("--save", type=click.Choice(SAVINGS), default="parameters", show_default=True, help="What --trim counts.")
@click.option(
    "--round-to", type=int, help="Numbers of units left are multiples of this. [default: the provider's channel block]"
)
@click.option("--keep-unread", is_flag=True, help="Leave units in place that nothing reads after pruning.")
@click.option("--method", type=click.Choice(METHODS), default="auto", show_default=True, help="Solver.")
@click.option("--pattern", help="N:M sparsity in place of --sparsity, such as 2:4.")
@click.option("--keep-zeros", is_flag=True, help="Keep the model's own zeros, and remove no other weight.")
@click.option("--uniform", is_flag=True, help="The same sparsity in every layer.")
@click.option("--layer", "layers", multiple=True, callback=layer_sparsities, help="NAME=SPARSITY, name or glob.")
@click.option("--exclude", multiple=True, help="Leave layers of this name or glob as they are.")
@click.option("--damping", type=float, help="Relative to the mean diagonal of the Hessian. [default: chosen per layer]")
@click.option("--effort", type=click.Choice(EFFORTS), help="A first look, or the best model. [default: full]")
@click.option(
    "--quantize",
    type=click.Choice(QUANTIZE_MODES),
    help="Run on integers what gains. [default: where a goal does]",
)
@click.option("--target", type=click.Choice(TARGETS), default="cpu", show_default=True, help="Where integers run.")
@click.option(
    "--ranges", type=click.Choice(RANGES), default="error", show_default=True, help="Where activations are clipped."
)
@click.option(
    "--prefer", type=click.Choice(PREFERENCES), default="speed", show_default=True, help="With --max-drop: first."
)
@click.option(
    "--values", type=click.Choice(VALUES), help="Type of stored weights. [default: codebook with a goal, else float16]"
)
@click.option("--names", type=click.Choice(NAMES), default="auto", show_default=True, help="Of nodes that unpack.")
@click.option("--pack/--no-pack", default=True, show_default=True, help="Store sparse weights packed.")
@click.option("--profile", is_flag=True, help="Time both models in turn, for the report: about half a minute.")
@click.option("--threads", type=int, help="Threads of one operator while models are timed. [default: one a core]")
@click.option("--timed-batch", type=int, help="Samples in a run that is timed. [default: the model's own, or 1]")
@click.option("--timings", type=FilePath(), help="Replay the times of this JSON report.")
@click.option("--mlflow", help="Log the result to MLflow: the URI of a tracking server or folder.")
@click.option("--work", type=FilePath(), help="Folder that keeps what is done: a killed run goes on.")
@click.option("--mirror", is_flag=True, default=None, help="Pictures: correct weights on mirror images, too.")
@data_options
@recipe_option
@output_options
def compress_command(
    model: Path,
    data: str,
    test: str | None,
    output: Path,
    report: Path | None,
    json_file: Path | None,
    quiet: bool,
    mlflow: str | None,
    recipe: Path | None,
    **options: Any,
) -> None:
    """Prune MODEL, correct what is left, verify it, and write it packed."""
    check_files({**options, "data": data, "test": test, "recipe": recipe}, [model], json_file, output, report)
    tracker = None if mlflow is None else Tracker(mlflow)
    printed, file = (report, None) if report == STANDARD_OUTPUT else (None, report)
    with model_file(output) as goal:
        with terminal.progress(Console(stderr=True, quiet=quiet)) as advance:
            result = compress(
                model, data, test=test, output=goal, report=file, progress=advance, **with_pictures(options)
            )
        with after_delivery(goal):
            show_result(result.report, terminal.print_report, json_file, quiet or printed is not None)
            if printed is not None:
                show_result(result.report, terminal.print_report, printed, quiet)
            if tracker is not None:
                tracker.log(result.report)


@cli.command("inspect")
@verbose_option
@click.argument("model", type=FilePath())
@click.option("--units", is_flag=True, help="Show which neurons hang together instead, and which are frozen and why.")
@click.option("--sensitivity", is_flag=True, help="Measure what pruning each layer costs, on --data.")
@click.option("--quantization", is_flag=True, help="Show what integers do to each layer: range, error, time, kernel.")
@click.option("--data", help="Inputs: for --sensitivity and --quantization, for --units where it needs real ones.")
@click.option("--picture", type=FilePath(), help="With --sensitivity: draw it into this .svg.")
@click.option("--threads", type=int, help="With --quantization: threads of one operator. [default: one a core]")
@click.option("--limit", type=int, help="Most inputs used, drawn at random; a generator's first.")
@picture_options
@classes_option
@run_options
@output_options
def inspect_command(
    model: Path,
    units: bool,
    sensitivity: bool,
    quantization: bool,
    data: str | None,
    picture: Path | None,
    json_file: Path | None,
    quiet: bool,
    **options: Any,
) -> None:
    """Show the layers of MODEL: what can be pruned, what cannot and why."""
    check_files({**options, "data": data}, [model], json_file, picture)
    modes = {"--units": units, "--sensitivity": sensitivity, "--quantization": quantization}
    given = [name for name, is_given in modes.items() if is_given]
    if len(given) > 1:
        raise click.UsageError(f"{' and '.join(given)} are two views of a model: give one of them")
    if options["threads"] is not None and not quantization:
        raise click.UsageError("--threads is for the times that --quantization measures: give both")
    if picture is not None and not sensitivity:
        raise click.UsageError("--picture draws what --sensitivity measures: give both")
    if sensitivity:
        _inspect_sensitivity(model, data, picture, json_file, quiet, **with_pictures(options))
    elif quantization:
        _inspect_quantization(model, data, json_file, quiet, **with_pictures(options))
    elif units:
        show_result(inspect_units(model, data, options["custom_ops"]), terminal.print_units, json_file, quiet)
    else:
        show_result(inspect_model(model, options["custom_ops"]), terminal.print_inspection, json_file, quiet)


def _inspect_sensitivity(
    model: Path, data: str | None, picture: Path | None, json_file: Path | None, quiet: bool, **options: Any
) -> None:
    if data is None:
        raise click.UsageError("--sensitivity measures on inputs of the model: give them with --data")
    check_picture_path(picture)
    with terminal.progress(Console(stderr=True, quiet=quiet)) as advance:
        found = inspect_sensitivity(model, data, advance, **options)
    if picture is not None:
        write_text(draw_sensitivity(found), picture)
    show_result(found, terminal.print_sensitivity, json_file, quiet)


def _inspect_quantization(model: Path, data: str | None, json_file: Path | None, quiet: bool, **options: Any) -> None:
    with terminal.progress(Console(stderr=True, quiet=quiet)) as advance:
        inspection = inspect_quantization(model, data, advance, **options)
    show_result(inspection, terminal.print_quantization, json_file, quiet)


@cli.command("compare")
@verbose_option
@click.argument("model", type=FilePath())
@click.argument("others", type=FilePath(), nargs=-1, required=True)
@click.option(
    "--data", type=Data(), required=True, help="Inputs: npz, npy, folder, zip, module:function or random[:N]."
)
@click.option("--profile", is_flag=True, help="Time each in turn with MODEL: about half a minute for each.")
@click.option("--threads", type=int, help="Threads of one operator while models are timed. [default: one a core]")
@click.option("--report", type=FilePath(), help="Where a page goes that lays the models side by side: .html.")
@data_options
@output_options
def compare_command(
    model: Path,
    others: tuple[Path, ...],
    data: str,
    report: Path | None,
    json_file: Path | None,
    quiet: bool,
    **options: Any,
) -> None:
    """Run MODEL and OTHERS on the same inputs and show how far each is off."""
    check_files({**options, "data": data}, [model, *others], json_file, report)
    check_page(report)
    result = compare_all(model, others, data, **with_pictures(options))
    if report is not None:
        write_text(result.to_html(), report)
    if len(others) == 1:
        show_result(result.comparisons[0], terminal.print_comparison, json_file, quiet)
    else:
        show_result(result, terminal.print_comparisons, json_file, quiet)


@cli.command("view")
@verbose_option
@click.argument("reports", type=FilePath(), nargs=-1, required=True)
@click.option("-o", "--output", type=FilePath(), help="Where the page goes: .html. [default: a temporary file]")
@click.option("--no-browser", is_flag=True, help="Write the page and do not open it.")
def view_command(reports: tuple[Path, ...], output: Path | None, no_browser: bool) -> None:
    """Lay REPORTS (JSON) of several runs side by side on a page, and open it in the browser.

    A table to sort, accuracy against bytes and milliseconds, every layer, and the difference of two runs.
    """
    check_page(output)
    page = view(reports, output, open_browser=not no_browser and sys.stdout.isatty())
    click.echo(printable(f"the page is {page}"))


@cli.command("profile")
@verbose_option
@click.argument("model", type=FilePath())
@click.option("--against", type=FilePath(), help="Another model, timed in turn with MODEL.")
@click.option("--data", help="Inputs. [default: made up, where the time cannot depend on their values]")
@click.option("--batch", "batches", callback=batch_sizes, help="Samples a run: 1,8,32. [default: the model's, or 1]")
@click.option("--shape", "shapes", multiple=True, callback=shapes, help="NAME=SIZES of made-up inputs: x=1x3x224x224.")
@click.option("--runs", "rounds", type=int, help="Measurements. [default: 10 seconds' worth, 15 to 105]")
@click.option("--per-op", "per_operator", is_flag=True, help="Time every node of the graph as well.")
@click.option("--threads", type=int, help="Threads of one operator on the CPU. [default: one a core]")
@click.option(
    "--optimisation",
    type=click.Choice(list(OPTIMISATIONS)),
    default="all",
    show_default=True,
    help="Level of graph optimisation.",
)
@picture_options
@classes_option
@run_options
@output_options
def profile_command(model: Path, against: Path | None, json_file: Path | None, quiet: bool, **options: Any) -> None:
    """Time MODEL in ONNX Runtime, whole and per operator; dense and compressed in turn with --against."""
    check_files(options, [model, against], json_file)
    show_result(profile(model, against, **with_pictures(options)), print_profile, json_file, quiet)


@cli.command("unpack")
@verbose_option
@click.argument("model", type=FilePath())
@click.option("-o", "--output", required=True, type=FilePath(), help="Where the plain model goes; - for stdout.")
@click.option("--custom-ops", multiple=True, help="Shared library with operators of your own.")
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
def unpack_command(model: Path, output: Path, custom_ops: tuple[str, ...], quiet: bool) -> None:
    """Turn the packed weights of MODEL into plain ones, equal to the last bit."""
    with model_file(output) as goal:
        names = unpack(model, goal, custom_ops)
        if not quiet:
            click.echo(f"weights unpacked: {len(names)}; {bytes_on_disk(goal):,} bytes written to {output}")


@cli.command("train")
@verbose_option
@click.argument("network")
@click.option("--data", type=FilePath(), required=True, help="Labelled data: see docs/training.md.")
@click.option("--out", type=FilePath(), required=True, help="Folder of the run; goes on where it was.")
@click.option("--init", type=FilePath(), help="First weights: an ONNX file, a run or a checkpoint.")
@click.option("--surgery", is_flag=True, help="Prune and splice weights while training.")
@click.option("--surgery-ratio", type=float, help="The same, until one parameter of this many is left.")
@click.option("--trimming", is_flag=True, help="Remove idle units and retrain, in rounds.")
@click.option("--settings", type=FilePath(), help="TOML file with any constant: see docs/training.md.")
@click.option("--steps", type=int, help="Updates of the weights, of a round with --trimming. [default: the network's]")
@click.option("--batch-size", type=int, help="Examples a step. [default: the network's]")
@click.option("--learning-rate", type=float, help="Of the first step. [default: the network's]")
@click.option("--bfloat16", is_flag=True, help="Compute in bfloat16.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:0.")
@click.option(
    "--validation", type=float, default=VALIDATION, help="Share of the training data held out. [default: 1/12]"
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of everything random.")
@picture_options
def train_command(network: str, data: Path, out: Path, init: Path | None, **options: Any) -> None:
    """Train NETWORK; a run that was stopped goes on where it was. Also runs under torchrun."""
    if out == STANDARD_OUTPUT:
        raise InputError("--out - is no folder, which a run needs to go on in: give a folder, and export the network")
    with terminal.progress(Console(stderr=True)) as advance:
        result = train(network, data, out, init=init, progress=advance, **with_pictures(options))
    if result is not None:
        print_training(result, Console())


@cli.command("retrain")
@verbose_option
@click.argument("model", type=FilePath())
@click.option("--data", type=FilePath(), required=True, help="Labelled or not: see docs/training.md.")
@click.option("-o", "--output", required=True, type=FilePath(), help="Where the model goes; - for stdout.")
@click.option("--dense", type=FilePath(), help="Model whose outputs are learnt; no labels are needed.")
@click.option("--sparsity", type=float, help="Prune first: share of the weights that is removed.")
@click.option("--rounds", type=int, default=1, show_default=True, help="Prune and retrain in so many rounds.")
@click.option("--quantize", type=click.Choice(RETRAIN_MODES), help="Put what gains on integers, then retrain it so.")
@click.option("--target", type=click.Choice(TARGETS), default="cpu", show_default=True, help="Where integers run.")
@click.option("--timings", type=FilePath(), help="With --quantize: replay the times of this JSON report.")
@click.option("--steps", type=int, default=500, show_default=True, help="Updates of the weights in a round.")
@click.option("--batch-size", type=int, default=64, show_default=True, help="Examples a step.")
@click.option("--learning-rate", type=float, default=1e-3, show_default=True, help="Of the first step.")
@click.option("--shift", type=int, default=0, show_default=True, help="Move pictures at random by up to these pixels.")
@click.option("--flip", is_flag=True, help="Mirror half of the pictures.")
@click.option("--bfloat16", is_flag=True, help="Compute in bfloat16.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:0.")
@click.option("--validation", type=float, default=VALIDATION, help="Share of the data held out. [default: 1/12]")
@click.option("--seed", type=int, default=0, show_default=True, help="Of everything random.")
@picture_options
def retrain_command(model: Path, data: Path, output: Path, **options: Any) -> None:
    """Train what is not zero in MODEL for a few hundred steps; its zeros and its graph stay. Or prune it first.

    A model on integers is trained as such, with their scales; --quantize puts it on them first.

    Also runs under torchrun.
    """
    check_files({**options, "data": data}, [model, options["dense"]], output)
    with model_file(output) as goal:
        with terminal.progress(Console(stderr=True)) as advance:
            result = retrain(model, data, goal, progress=advance, **with_pictures(options))
        if result is not None:
            print_retraining(result, output, Console())


@cli.command("export")
@verbose_option
@click.argument("run", type=FilePath())
@click.option("-o", "--output", required=True, type=FilePath(), help="Where the model goes; - for stdout.")
def export_command(run: Path, output: Path) -> None:
    """Write the network that the folder RUN holds as ONNX, proven in ONNX Runtime."""
    with model_file(output) as goal:
        print_export(export(run, goal), output, Console())


def main() -> None:
    """Run the command line; every error ends in one sentence and an exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal that cannot show a sign must not stop the run
    logging.getLogger().addHandler(logging.NullHandler())  # what libraries log is not what the user is told
    if not os.environ.get("NETSURGEON_DEBUG") and not sys.warnoptions:
        warnings.simplefilter("ignore")  # nor is what they warn of while we call them
    stop_at_signals()
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Exit code of a command line: 0 done, 1 a check failed, 2 bad input, 130 interrupted, 143 terminated."""
    try:
        cli(arguments, prog_name="netsurgeon", standalone_mode=False)
    except (Exception, KeyboardInterrupt) as error:
        return explain(error)
    return 0


if __name__ == "__main__":
    main()
