"""view: reports in, a page out, opened only where that is wanted."""

import stat
from pathlib import Path

import pytest
from report_files import written

from netsurgeon.cli import run
from netsurgeon.pipeline.compress import Compression
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.view import MOST_RUNS, view


@pytest.fixture
def reports(delivered: tuple[Path, Compression], tmp_path: Path) -> list[str]:
    (tmp_path / "other").mkdir()
    report = delivered[1].report
    return [str(written(report, tmp_path / name)) for name in ("a.json", "b.json", "other/a.json")]


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    addresses: list[str] = []
    monkeypatch.setattr("webbrowser.open", addresses.append)
    return addresses


def test_reports_become_a_page(reports: list[str], tmp_path: Path, opened: list[str]) -> None:
    page = view(reports, tmp_path / "pages" / "view.html")
    text = page.read_text("utf-8")
    assert page == tmp_path / "pages" / "view.html"
    assert "3 models side by side" in text
    for name in ("a", "b", "other/a"):
        assert f"</span>{name}</td>" in text
    assert opened == []


def test_without_a_path_the_page_is_a_new_file_of_the_users_own(
    reports: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opened: list[str]
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    one, other = (view(reports[:1], open_browser=True) for _ in range(2))
    assert one != other
    assert one.parent.parent == tmp_path
    assert stat.S_IMODE(one.parent.stat().st_mode) == 0o700
    assert opened == [one.as_uri(), other.as_uri()]


def test_what_cannot_be_laid_side_by_side_is_refused(reports: list[str], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="0 reports were given, expected 1 to 64"):
        view([])
    with pytest.raises(InputError, match="65 reports were given"):
        view(reports[:1] * (MOST_RUNS + 1))
    with pytest.raises(InputError, match="inputs are never written to"):
        view(reports, reports[0])
    with pytest.raises(InputError, match="is not a report of compress"):
        view([__file__], tmp_path / "view.html")
    assert not (tmp_path / "view.html").exists()


def test_the_command_writes_and_opens_nothing_off_a_terminal(
    reports: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], opened: list[str]
) -> None:
    page = tmp_path / "view.html"
    assert run(["view", *reports, "-o", str(page)]) == 0
    assert capsys.readouterr().out == f"the page is {page}\n"
    assert page.exists()
    assert opened == []


@pytest.mark.parametrize(("flags", "count"), [([], 1), (["--no-browser"], 0)])
def test_the_command_opens_the_page_on_a_terminal(
    reports: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    opened: list[str],
    flags: list[str],
    count: int,
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert run(["view", reports[0], "-o", str(tmp_path / "view.html"), *flags]) == 0
    assert len(opened) == count


def test_a_page_is_named_like_one(reports: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["view", *reports, "-o", "view.pdf"]) == 2
    assert "give a name that ends in .html" in capsys.readouterr().err
