"""Options that commands share: pictures gathered into one object, and what help says of them."""

import logging
import re
from pathlib import Path

import click
import pytest
from command_lines import called

from netsurgeon.pipeline.command_line.shared_options import (
    combine_options,
    picture_options,
    quiet_option,
    warn_on_stderr,
    with_pictures,
)
from netsurgeon.pipeline.data.images import PictureOptions
from netsurgeon.pipeline.errors import InputError


def test_where_no_picture_option_is_given_there_is_no_object() -> None:
    values, _ = called(options=picture_options)
    assert with_pictures(values) == {"pictures": None}


def test_picture_options_become_one_object() -> None:
    values, _ = called("--resize", "256", "--crop", "224", "--channels", "BGR", "--std", "2", options=picture_options)
    assert with_pictures(values) == {"pictures": PictureOptions(resize=256, crop=224, channels="BGR", std=(2.0,))}


def test_picture_options_of_a_file_give_way_to_the_line(tmp_path: Path) -> None:
    file = tmp_path / "pictures.toml"
    file.write_text('crop = 224\nscale = 1\nchannels = "BGR"\nmirror = true\n')
    values, _ = called("--pictures", str(file), "--crop", "8", options=picture_options)
    options = with_pictures(values)
    assert options["pictures"] == PictureOptions(crop=8, scale=1.0, channels="BGR", mirror=True)
    with pytest.raises(InputError, match=r"none\.toml"):
        with_pictures({"pictures": tmp_path / "none.toml"})


def test_help_lists_the_options_in_their_order() -> None:
    _, result = called("--help", options=combine_options(click.option("--b"), click.option("--a"), picture_options))
    names = re.findall(r"^  --([\w-]+)", result.output, re.MULTILINE)
    assert names == ["b", "a", "pictures", "resize", "crop", "channels", "scale", "mean", "std", "layout", "help"]


def test_what_a_run_warns_of_is_on_standard_error_unless_it_is_quiet(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(logging.getLogger("netsurgeon"), "handlers", [logging.NullHandler()])
    monkeypatch.setattr(logging.getLogger("netsurgeon"), "propagate", False)
    warn_on_stderr()
    logger = logging.getLogger("netsurgeon.pipeline.execution")
    logger.warning("the cluster has no workers any more")
    assert capsys.readouterr().err == "the cluster has no workers any more\n"
    called("--quiet", options=quiet_option)
    logger.warning("the cluster has no workers any more")
    assert capsys.readouterr().err == ""
