"""What tells jobs from each other, and when a result is whole."""

from pathlib import Path

import pytest

from netsurgeon.pipeline.data import limits
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.jobs.record import JobFolder, identity_of
from netsurgeon.pipeline.options import Options, options

IDENTITY = {"options": {"seed": 0}}


@pytest.fixture
def folder(tmp_path: Path) -> JobFolder:
    folder = JobFolder(tmp_path / "small")
    folder.take()
    return folder


def fill(folder: JobFolder) -> None:
    folder.model.write_bytes(b"model")
    folder.report.write_text("{}")


def test_a_result_is_whole_once_it_is_finished_and_unchanged(folder: JobFolder) -> None:
    folder.clear(IDENTITY)
    folder.work.mkdir()
    fill(folder)
    assert not folder.holds(IDENTITY)
    folder.finish(IDENTITY)
    assert folder.holds(IDENTITY)
    assert not folder.work.exists()
    assert not folder.holds({"options": {"seed": 1}})
    folder.model.write_bytes(b"other")
    assert not folder.holds(IDENTITY)
    fill(folder)
    folder.report.unlink()
    assert not folder.holds(IDENTITY)


def test_a_job_that_was_begun_holds_nothing(folder: JobFolder) -> None:
    folder.clear(IDENTITY)
    assert not folder.holds(IDENTITY)


def test_the_same_job_goes_on_and_another_begins_anew(folder: JobFolder) -> None:
    folder.clear(IDENTITY)
    folder.work.mkdir()
    fill(folder)
    folder.clear(IDENTITY)
    assert folder.work.exists()
    folder.clear({"options": {"seed": 1}})
    assert not folder.work.exists()
    assert not folder.model.exists()


def test_a_folder_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").touch()
    with pytest.raises(InputError, match=r"holds something else \(cat.jpg\)"):
        JobFolder(tmp_path / "photos").take()


def test_contents_options_and_sources_tell_jobs_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, data = tmp_path / "model.onnx", tmp_path / "data.npz"
    model.write_bytes(b"")
    data.write_bytes(b"one")
    (tmp_path / "my_inputs.py").write_text("def inputs(): return []\n")
    monkeypatch.chdir(tmp_path)

    def identity(source: object = data, **options: int) -> object:
        return identity_of(model, {"data": source, "test": None}, Options(sparsity=0.5, **options))  # type: ignore[arg-type]

    first, of_function = identity(), identity("my_inputs:inputs")
    assert identity() == first
    assert identity(seed=1) != first
    data.write_bytes(b"two")
    assert identity() != first
    (tmp_path / "my_inputs.py").write_text("def inputs(): return [1]\n")
    assert identity("my_inputs:inputs") != of_function
    with pytest.raises(InputError, match="data of a job is a list, expected a path or a text"):
        identity([1])


def test_a_job_on_a_processor_that_takes_other_numbers_of_channels_is_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By default units are removed so that what is left fills the processor's registers."""

    def identity(round_to: int | None) -> object:
        return identity_of(tmp_path / "model.onnx", {}, Options(trim=0.5, round_to=round_to))

    by_default, by_choice = identity(None), identity(8)
    monkeypatch.setattr(options, "channel_block", lambda _: 4)
    assert identity(None) != by_default
    assert identity(8) == by_choice


def test_a_job_with_many_files_goes_on(folder: JobFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its record stays short enough to be read."""
    monkeypatch.setattr(limits, "MOST_TEXT_BYTES", 4000)
    (tmp_path / "data").mkdir()
    for at in range(100):
        (tmp_path / "data" / f"picture {at:03}.png").touch()
    identity = identity_of(tmp_path / "model.onnx", {"data": tmp_path / "data"}, Options(sparsity=0.5))
    folder.clear(identity)
    folder.work.mkdir()
    folder.clear(identity)
    assert folder.work.exists()
    (tmp_path / "data" / "picture 007.png").write_bytes(b"another")
    assert identity_of(tmp_path / "model.onnx", {"data": tmp_path / "data"}, Options(sparsity=0.5)) != identity


def test_two_functions_of_one_name_are_two_jobs(tmp_path: Path) -> None:
    def identity(number: float) -> object:
        def metric(*_: object) -> float:
            return number

        return identity_of(tmp_path / "model.onnx", {"data": None, "test": None}, Options(sparsity=0.5, metric=metric))

    assert identity(1.0) == identity(1.0)
    assert identity(1.0) != identity(2.0)
