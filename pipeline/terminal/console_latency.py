"""What `profile` measured, as tables on the terminal (rich)."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from netsurgeon.pipeline.notation import counted
from netsurgeon.pipeline.profiling import Cost, Profile, by_operator, milliseconds
from netsurgeon.pipeline.terminal.console import print_fallbacks
from netsurgeon.pipeline.terminal.safe_text import Text

LISTED = 16
"""Most nodes listed on the terminal; the JSON has all."""


def print_profile(profile: Profile, console: Console) -> None:
    """The result of `profile`."""
    threads = "one thread a core" if profile.threads is None else counted(profile.threads, "thread")
    console.print(Text(f"{profile.machine}; {profile.provider}, {threads}, graph optimisation {profile.optimisation}"))
    console.print(_timings(profile))
    console.print(_costs(profile))
    if profile.model.nodes:
        console.print(_operators(profile))
        for cost in filter(None, (profile.model, profile.other)):
            console.print(_slowest(cost))
    for cost in filter(None, (profile.model, profile.other)):
        print_fallbacks(cost.on_the_cpu, console)
    for note in profile.notes:
        console.print(Text(f"note: {note}"))


def _timings(profile: Profile) -> Table:
    table = Table(title="milliseconds a run: median (first to last decile)", title_justify="left", box=SIMPLE_HEAD)
    table.add_column("batch", justify="right", no_wrap=True)
    table.add_column(Text(_name(profile.model)), justify="right", overflow="fold")
    if profile.other:
        table.add_column(Text(_name(profile.other)), justify="right", overflow="fold")
        table.add_column("faster (95 % interval)", justify="right")
    table.add_column("rounds", justify="right", no_wrap=True)
    table.add_column("fed", overflow="fold")
    for timing in profile.timings:
        table.add_row(*timing.cells(), Text(timing.fed))
    return table


def _costs(profile: Profile) -> Table:
    table = Table(title="besides", title_justify="left", box=SIMPLE_HEAD)
    costs = [cost for cost in (profile.model, profile.other) if cost]
    table.add_column("")
    for cost in costs:
        table.add_column(Text(_name(cost)), justify="right", overflow="fold")
    table.add_row("bytes on disk", *(f"{cost.bytes:,}" for cost in costs))
    table.add_row("ms to load", *(milliseconds(cost.load) for cost in costs))
    table.add_row("memory to load and run, MiB", *(f"{cost.memory / 2**20:,.1f}" for cost in costs))
    return table


def _operators(profile: Profile) -> Table:
    table = Table(title="milliseconds a run by operator", title_justify="left", box=SIMPLE_HEAD)
    table.add_column("operator", no_wrap=True)
    costs = [cost for cost in (profile.model, profile.other) if cost]
    for cost in costs:
        table.add_column(Text(f"{_name(cost)} (nodes)"), justify="right", overflow="fold")
    for operator, cells in by_operator(costs).items():
        table.add_row(operator, *(f"{time:.3f} ({count})" if count else "" for time, count in cells))
    return table


def _slowest(cost: Cost) -> Table:
    total = sum(node.milliseconds for node in cost.nodes)
    table = Table(title=Text(f"slowest nodes of {_name(cost)}"), title_justify="left", box=SIMPLE_HEAD)
    table.add_column("node", overflow="fold")
    table.add_column("operator", no_wrap=True)
    for name in ("ms", "share"):
        table.add_column(name, justify="right", no_wrap=True)
    for node in sorted(cost.nodes, key=lambda node: -node.milliseconds)[:LISTED]:
        share = node.milliseconds / total if total else 0.0
        table.add_row(Text(node.name), Text(node.operator), f"{node.milliseconds:.3f}", f"{share:.1%}")
    return table


def _name(cost: Cost) -> str:
    return cost.name or "model"
