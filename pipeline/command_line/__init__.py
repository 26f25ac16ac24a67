"""Commands, their options and help, and how they end; light to import: what a command does is loaded when it runs."""

from netsurgeon.pipeline.command_line.compress import compress_command
from netsurgeon.pipeline.command_line.compress_many import compress_many_command
from netsurgeon.pipeline.command_line.declare import CommandGroup
from netsurgeon.pipeline.command_line.exits import explain, stop_at_signals
from netsurgeon.pipeline.command_line.inspect import inspect_command
from netsurgeon.pipeline.command_line.measure import compare_command, profile_command, unpack_command, view_command
from netsurgeon.pipeline.command_line.shared_options import warn_on_stderr
from netsurgeon.pipeline.command_line.training import export_command, retrain_command, train_command

COMMANDS = (
    compress_command,
    compress_many_command,
    inspect_command,
    compare_command,
    view_command,
    profile_command,
    unpack_command,
    retrain_command,
    train_command,
    export_command,
)
"""In the order of the help."""

__all__ = ["COMMANDS", "CommandGroup", "explain", "stop_at_signals", "warn_on_stderr"]
