"""Help: every option in a group, sentences whole, examples that can be copied."""

import re
import shlex

import click
import pytest
from click.testing import CliRunner

from netsurgeon.cli import cli
from netsurgeon.pipeline.command_line import COMMANDS
from netsurgeon.pipeline.command_line.declare import GROUPS, OTHER, Command, option, option_group
from netsurgeon.pipeline.notation import MEASURES
from netsurgeon.pipeline.options import DEFAULT_DROP, Options

SHOWN_AS_PARAGRAPHS = re.compile(r"^(\S[^\n]*):\n((?:  .*\n?)+)", re.MULTILINE)


def help_of(*arguments: str) -> str:
    result = CliRunner().invoke(cli, [*arguments, "--help"], prog_name="netsurgeon")
    assert result.exit_code == 0
    return result.output


def test_options_are_listed_under_their_groups_in_order() -> None:
    @click.command(cls=Command, examples=("thing --a 1",))
    @option_group("Output", [option("--a"), option("--b")])
    @option_group("Goals", [option("--c")])
    @option("--d")
    def thing() -> None:
        """Do it."""

    shown = CliRunner().invoke(thing, ["--help"]).output
    sections = {title: re.findall(r"--\w+", body) for title, body in SHOWN_AS_PARAGRAPHS.findall(shown)}
    assert sections == {"Goals": ["--c"], "Output": ["--a", "--b"], "Other": ["--d", "--help"], "Examples": ["--a"]}


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_option_has_a_group_and_says_what_it_takes(command: Command) -> None:
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert getattr(parameter, "group", OTHER) in GROUPS[:-1], parameter.opts
            assert parameter.help
            takes_a_value = not parameter.is_flag and not parameter.count
            shows_type = parameter.metavar or not isinstance(parameter.type, click.types.StringParamType | click.Path)
            assert shows_type or not takes_a_value, parameter.opts


def test_the_groups_of_compress_are_those_of_the_guide() -> None:
    titles = [title for title, _ in SHOWN_AS_PARAGRAPHS.findall(help_of("compress"))]
    assert titles == ["Data", "Goals", "By hand", "Images", "Running", "Output", "Expert", "Other", "Examples"]


def test_the_list_of_commands_is_not_cut_off() -> None:
    shown = " ".join(help_of().split())
    assert "..." not in shown
    for command in COMMANDS:
        assert command.help
        sentence = " ".join(command.help.split()).partition(". ")[0].rstrip(".")
        assert sentence in shown, shown


@pytest.mark.parametrize("command", [cli, *COMMANDS], ids=lambda command: command.name)
def test_examples_are_shown_unwrapped_and_can_be_run_as_they_are(command: Command) -> None:
    shown = help_of(*([] if command.name == cli.name else [command.name or ""]))
    assert command.examples
    for example in command.examples:
        assert all(f"  {line}\n" in shown for line in example.splitlines())
        program, name, *arguments = shlex.split(example.replace("\\\n", " "))
        assert program == "netsurgeon"
        parsed = cli.commands[name].make_context(name, list(arguments))
        assert parsed.params


def sentence_of(command: str, name: str) -> str:
    """What the help says of an option."""
    (parameter,) = [parameter for parameter in cli.commands[command].params if parameter.name == name]
    assert isinstance(parameter, click.Option)
    return parameter.help or ""


@pytest.mark.parametrize("command", ["compress", "compare"])
def test_the_help_has_every_measure(command: str) -> None:
    assert f"judged by: {', '.join(MEASURES)}, or a function" in sentence_of(command, "metric")


def test_the_help_has_every_network() -> None:
    pytest.importorskip("torch")
    from netsurgeon.models.networks import NETWORKS

    names = " ".join((cli.commands["train"].help or "").split()).partition("NETWORK is ")[2].rstrip(".")
    assert re.split(r", | or ", names) == list(NETWORKS)


BY_HAND: dict[str, object] = {
    "sparsity": 0.5,
    "trim": 0.3,
    "quantize": "int8",
    "values": "float16",
    "tables": "int8",
    "drop_rows": {"table": "1-3"},
    "repair": True,
    "pattern": "2:4",
    "keep_zeros": True,
    "uniform": True,
    "layers": {"conv*": 0.8},
    "exclude": ("conv*",),
}


def test_every_option_by_hand_is_looked_at() -> None:
    group = [parameter for parameter in cli.commands["compress"].params if getattr(parameter, "group", "") == "By hand"]
    assert {parameter.name for parameter in group} == set(BY_HAND)


@pytest.mark.parametrize("name", BY_HAND)
def test_the_help_says_which_options_turn_the_default_goal_off(name: str) -> None:
    goals = Options(**{name: BY_HAND[name]}).goals  # type: ignore[arg-type]
    assert goals is None or goals.max_drop == DEFAULT_DROP
    (parameter,) = [parameter for parameter in cli.commands["compress"].params if parameter.name == name]
    assert (goals is None) == (parameter.opts[0] in re.findall(r"--[\w-]+", sentence_of("compress", "max_drop")))
