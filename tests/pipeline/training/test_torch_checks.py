"""Without PyTorch training is refused, and what it refuses is said in a sentence."""

from pathlib import Path

import pytest

from netsurgeon import cli

pytestmark = pytest.mark.usefixtures("one_thread")


def test_without_torch_the_user_is_told_what_to_install(
    monkeypatch: pytest.MonkeyPatch, mnist: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr("netsurgeon.pipeline.training.torch_checks.importlib.import_module", missing)
    assert cli.run(["train", "lenet5", "--data", str(mnist), "--out", str(tmp_path / "run")]) == 2
    assert capsys.readouterr().err == (
        "error: training needs torch, which is not installed: run `pip install 'netsurgeon[torch]'`\n"
    )
    assert cli.run(["export", str(tmp_path / "run"), "-o", str(tmp_path / "x.onnx")]) == 2
