"""Command line: the commands together, and how a process that runs one begins and ends."""

from __future__ import annotations

import io
import logging
import os
import sys
import warnings

from netsurgeon.pipeline.errors import INTERRUPTED

try:
    import click

    from netsurgeon import __version__
    from netsurgeon.pipeline.command_line import COMMANDS, CommandGroup, explain, stop_at_signals, warn_on_stderr
except KeyboardInterrupt:
    sys.stderr.write(f"error: {INTERRUPTED}\n")
    sys.exit(130)

EXAMPLES = (
    "netsurgeon inspect model.onnx",
    "netsurgeon compress model.onnx --data calibration.npz -o small.onnx --report report.html",
    "netsurgeon compare model.onnx small.onnx --data test.npz",
)


@click.group(
    cls=CommandGroup,
    examples=EXAMPLES,
    context_settings={"help_option_names": ["-h", "--help"]},
    options_metavar="",
    subcommand_metavar="COMMAND [OPTIONS]",
)
@click.version_option(__version__, prog_name="netsurgeon")
def cli() -> None:
    """Compress a trained ONNX model with a few hundred of its inputs, verified in ONNX Runtime.

    netsurgeon COMMAND --help shows the options of a command, with examples.
    """


for command in COMMANDS:
    cli.add_command(command)


def main() -> None:
    """Run the command line; every error ends in one sentence and an exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal that cannot show a sign must not stop the run
    logging.getLogger().addHandler(logging.NullHandler())  # what libraries log is not what the user is told
    warn_on_stderr()
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
