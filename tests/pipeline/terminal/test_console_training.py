"""What the commands that train print: layers under surgery, rounds of trimming and retraining, and exports."""

import dataclasses
from pathlib import Path

from printed_text import cells, printed

from netsurgeon.pipeline.terminal.console_training import print_export, print_retraining, print_training
from netsurgeon.pipeline.training.exporting import Exported
from netsurgeon.pipeline.training.network_trimming import Width
from netsurgeon.pipeline.training.retraining import Retraining, Round
from netsurgeon.pipeline.training.scores import Scores
from netsurgeon.pipeline.training.training_run import LayerCount, Training

TRAINING = Training(
    folder=Path("run[1]"),
    network="lenet5",
    steps=12_000,
    parameters=431_080,
    nonzero=43_108,
    layers=(),
    widths=(),
    found={},
    validation_error=0.0125,
    test_error=0.01,
)


def test_a_plain_training_is_two_sentences() -> None:
    assert printed(print_training, TRAINING).splitlines() == [
        "lenet5 after 12,000 steps: 43,108 of 431,080 parameters not zero; validation error 1.25%, test error 1.00%",
        "in run[1]: `netsurgeon export` makes ONNX of it",
    ]
    text = printed(print_training, dataclasses.replace(TRAINING, test_error=None))
    assert text.splitlines()[0].endswith("; validation error 1.25%")


def test_layers_under_surgery_are_listed_with_their_sum() -> None:
    layers = (
        LayerCount(name="[conv]", size=500, kept=125, c=0.5),
        LayerCount(name="linear", size=4000, kept=1000, c=1.25),
    )
    text = printed(print_training, dataclasses.replace(TRAINING, layers=layers))
    assert cells(text, "[conv]")[1:] == ["500", "125", "25.00%", "0.50"]
    assert cells(text, "linear")[1:] == ["4,000", "1,000", "25.00%", "1.25"]
    assert cells(text, "all")[1:] == ["4,500", "1,125", "÷ 4.0"]


def test_layers_that_lost_everything_are_no_division_by_zero() -> None:
    text = printed(
        print_training, dataclasses.replace(TRAINING, layers=(LayerCount(name="linear", size=10, kept=0, c=1.0),))
    )
    assert cells(text, "all")[1:] == ["10", "0", "÷ 10.0"]


def test_each_round_of_trimming_is_a_row() -> None:
    widths = [
        Width(round=number, layer=layer, units=units, apoz=0.5, parameters=parameters, error=error)
        for number, parameters, error, rows in (
            (0, 431_080, 0.01, (("conv[0]", 20), ("linear", 500))),
            (1, 215_540, 0.0125, (("conv[0]", 20), ("linear", 250))),
            (2, 100_000, 0.5, (("linear", 100),)),
        )
        for layer, units in rows
    ]
    text = printed(print_training, dataclasses.replace(TRAINING, widths=tuple(widths), parameters=215_540))
    assert cells(text, "round")[1:] == ["conv[0]", "linear", "parameters", "validation error"]
    assert cells(text, "0")[1:] == ["20", "500", "431,080", "÷ 1.00", "1.00%"]
    assert cells(text, "1")[1:] == ["20", "250", "215,540", "÷ 2.00", "1.25%"]
    assert cells(text, "2")[1:] == ["100", "100,000", "÷ 4.31", "50.00%"]


def test_retraining_as_given_has_a_column_before_and_one_after() -> None:
    before, after, test = Scores(0.02, None, None), Scores(0.015, None, None), Scores(0.0175, None, None)
    result = Retraining(
        steps=300,
        trained=1200,
        zeros=4500,
        before=before,
        after=after,
        rounds=(Round(sparsity=None, before=before, after=after, taken=True),),
        test=test,
    )
    text = printed(print_retraining, result, Path("small[0].onnx"))
    assert text.startswith("after 300 steps")
    assert cells(text, "held out, before") == ["held out, before", "held out, after", "test"]
    assert cells(text, "error")[1:] == ["2.00%", "1.50%", "1.75%"]
    assert "weights trained: 1200; zeros kept: 4,500; written to small[0].onnx\n" in text
    assert "same class" not in text
    assert "squared distance" not in text


def test_rounds_of_pruning_and_retraining_stand_side_by_side() -> None:
    original, pruned, trained, last, worse = (
        Scores(None, share, distance)
        for share, distance in ((1.0, 0.0), (0.8, 0.3), (0.9, 0.2), (0.7, 0.5), (0.6, 0.625))
    )
    rounds = (
        Round(sparsity=0.5, before=pruned, after=trained, taken=True),
        Round(sparsity=0.75, before=last, after=worse, taken=False),
    )
    text = printed(
        print_retraining,
        Retraining(steps=600, trained=12, zeros=34, before=original, after=last, rounds=rounds, test=None),
        Path("small.onnx"),
    )
    names = ["held out, as given", "50.00% removed", "retrained", "75.00% removed", "retrained: undone", "test"]
    assert cells(text, names[0]) == names
    assert cells(text, "same class as the dense model")[1:] == ["100.00%", "80.00%", "90.00%", "70.00%", "60.00%"]
    assert cells(text, "squared distance to its outputs")[1:] == ["0.00%", "30.00%", "20.00%", "50.00%", "62.50%"]


def test_a_model_that_was_put_on_integers_has_columns_for_what_that_cost() -> None:
    original, coarse, trained = (
        Scores(None, share, distance) for share, distance in ((1.0, 0.0), (0.8, 0.3), (0.9, 0.2))
    )
    last = Round(sparsity=None, before=coarse, after=trained, taken=True, quantize="w4a8")
    result = Retraining(steps=6, trained=12, zeros=34, before=original, after=trained, rounds=(last,), test=None)
    text = printed(print_retraining, result, Path("small.onnx"))
    names = ["held out, as given", "on integers, w4a8", "retrained", "test"]
    assert cells(text, names[0]) == names
    assert cells(text, "same class as the dense model")[1:] == ["100.00%", "80.00%", "90.00%"]


def test_an_export_tells_what_was_written_and_how_well_it_agrees() -> None:
    text = printed(
        print_export,
        Exported(bytes=1_234_567, opset=18, parameters=431_080, nonzero=43_108, difference=1.25e-6, inputs=16),
        Path("[net].onnx"),
        width=200,
    )
    assert text.splitlines() == [
        "43,108 of 431,080 parameters not zero; opset 18; "
        "PyTorch and ONNX Runtime differ by 1e-06 of the output's scale on 16 inputs",
        "1,234,567 bytes written to [net].onnx",
    ]
