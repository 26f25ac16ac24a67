"""Notes, warnings and problems: a sentence for people that carries a stable code and its data for programs."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Any

CODES: Mapping[str, str] = {
    "answers-alike": "The dense model's answers hardly vary over the inputs, so that agreement with it says little.",
    "batch-skipped": "A batch size was not timed: the model's batch is fixed to another one.",
    "batch-unusable": "Samples are run one by one, because the model cannot use the batch that it declares.",
    "came-quantized": "The model was quantized already: its integers are pruned on their own grid, or left alone.",
    "bound-ends": "The error bound ends at a node for which no constant is known.",
    "dimensions-freed": "Negative dimensions were taken to be free ones.",
    "file-grew": "The compressed file is larger than the dense one.",
    "fast-effort": "You asked for a first look: a full run is likely to find a better model.",
    "float16-widened": "A float16 model computes in float32 around its integers; its inputs and outputs stay float16.",
    "few-inputs": "Accuracy and errors were measured on very few inputs.",
    "few-samples": "Layers saw fewer samples than they have inputs, so their correction depends on damping.",
    "files-left-out": "Files in an image folder that are not images were left out.",
    "finer-values": "Weights are stored as finer values, because rounding to the default ones alone misses the goal.",
    "goal-unproven": "The drop on the inputs that guided the search does not prove the goal.",
    "images-unlabelled": "All images are in one folder, which is therefore not taken for a class.",
    "inputs-not-normalised": "What enters the model's first normalisation has another scale than it had in training.",
    "inputs-unlike-test": "The values of an input reach much further in the data than in the test inputs, or less far.",
    "integers-lose": "The model stays on floats: on integers it misses the goal, or loses more in the same size.",
    "integers-unfused": "ONNX Runtime runs layers with integer weights on floats.",
    "integers-for-floats": "Float inputs were given as integers, which are used as they are, not scaled.",
    "initializers-fixed": "Initializers that were also graph inputs are now constants.",
    "labels-only-measure": "Only the test inputs have labels: agreement with the dense model guided the search.",
    "layers-emptied": "Layers have lost every weight.",
    "layers-unmeasured": "Layers whose inputs overflow were left as they are.",
    "machine-busy": "Other programs took processor time while models were timed.",
    "metric-nan": "The measure gives NaN for a model.",
    "model-fails": "A changed model cannot be loaded or run in ONNX Runtime.",
    "more-removed": "More weights went than were asked for, because units that nothing reads any more went too.",
    "no-batch-axis": "Axis 0 of the inputs is not a batch: every feed is one sample.",
    "no-class-scores": "An output does not look like class scores and is judged by its error.",
    "no-normal-form": "The model could not be brought into normal form and stays as it is.",
    "nodes-sorted": "Nodes stood before the nodes whose outputs they read, and were put in order.",
    "no-sparse-kernels": "The model is made for dense kernels: sparse ones would not make it faster.",
    "normal-form-undone": "The normal form did not give the same outputs and was undone.",
    "not-held-out": "The error was measured on the inputs that the weights were corrected on.",
    "not-mirrored": "Mirror images were left out of a search: there are enough pictures, or it is a first look.",
    "not-quantized": "The model stays on floats: integers gain nothing, or do not run as they should.",
    "not-repaired": "Weights or integers, perhaps some of them, could not be tuned by gradient descent and stay.",
    "not-varied": "Inputs of a repair were not varied in a way that the user named, since they do not suit it.",
    "nothing-removed": "Nothing was removed and no byte saved, so the weights are left as they were.",
    "one-feed": "All of the data is one feed, and so one sample: its arrays have no axis 0 in common.",
    "old-opset-checked": "ONNX Runtime cannot run so old a model: it was checked with ONNX's reference evaluator.",
    "old-opset-raised": "The opset was older than what can be analysed and was raised.",
    "option-unused": "An option was given that is about something else that was not asked for.",
    "opset-raised": "The opset was raised because packed weights or integers need it.",
    "output-discrete": "An output has no error bound because its values are discrete.",
    "outputs-alike": "An output of the dense model is the same for most inputs of the measurement.",
    "outputs-differ": "A changed model gives other outputs than the one it was made from.",
    "outputs-not-finite": "An output of the dense model is NaN or infinite for some inputs of the measurement.",
    "outputs-unmeasured": "Outputs are empty for all inputs of the final measurement, so they are not compared.",
    "padding-kept": "Positions that a mask excludes change the outputs, so they count like all others.",
    "padding-left-out": "Positions that a mask excludes are fed, but enter no statistic, no range and no measure.",
    "padding-only": "An input has no position that its mask keeps, and is run as it is.",
    "padding-taken-off": "Positions that a mask excludes, such as padding, were taken off before anything was run.",
    "promise-few-inputs": "Too few inputs were held out for a limit on how much most others change.",
    "promise-halves": "Each half of the inputs was measured with its own model, so no limit for other inputs follows.",
    "proof-uninformative": "No output varies over the inputs on which the removal of units was verified.",
    "removal-fails": "Units cannot be taken out of the graph.",
    "records-damaged": "Records of the work folder were damaged and were made again.",
    "repair-loses": "Tuning by gradient descent would have made outputs of held-out inputs worse.",
    "same-input": "Layers saw the same input in every sample.",
    "samples-dropped": "Samples that do not fill the model's fixed batch were dropped.",
    "shortcuts-convolved": "Shortcuts made of Slice and Pad are now strided convolutions.",
    "shuffles-dissolved": "In a model on integers, channel shuffles were replaced by reordered weights.",
    "sparse-kernels": "Sparse kernels make the model faster than dense ones do.",
    "step-note": "A note of a step that is not part of netsurgeon.",
    "step-undone": "A step failed its verification and was undone.",
    "stored-unpacked": "The weights could not be packed and are stored as they are.",
    "targets-left-out": "Labels are not classes, and no measure was named that uses them, so they decide nothing.",
    "timed-elsewhere": "The times that decided were measured on another machine, or with other threads or inputs.",
    "trim-fell-short": "Removing units saves far less than the ceiling that was given.",
    "units-scarce": "Some layers have less than a tenth of their units left.",
    "unread-units-stay": "Units that nothing reads any more could not be removed.",
    "weight-not-rounded": "A weight is stored as it is, not in the smaller type.",
    "worse-than-chance": "The dense model's perplexity is worse than that of guessing, so that it says little.",
    "zeros-in-vain": "Weights were removed, but in this form zeros take as many bytes and as much time as others.",
}
"""Every code and what it means; docs/messages.md is made from it. A code that was released keeps its meaning."""


class Message(str):
    """A sentence with a code. It is a string, so that it prints, wraps and escapes as one.

    Attributes:
        code: one of `CODES`.
        data: figures and names in the sentence, as JSON values.
    """

    __slots__ = ("code", "data")
    code: str
    data: dict[str, Any]

    def __new__(cls, text: str, code: str, data: Mapping[str, Any] | None = None, /, **more: Any) -> Message:
        """Make one: `Message("4 samples dropped", "samples-dropped", dropped=4)`.

        Keywords count more than entries of `data`.

        Raises:
            ValueError: the code is not in `CODES`, or the data has the name of another part.
        """
        values = {**(data or {}), **more}
        if code not in CODES:
            raise ValueError(f"there is no message code {code!r}: add it to CODES with its meaning")
        if {"code", "text"} & values.keys():
            raise ValueError("the data of a message cannot be called code or text")
        message = super().__new__(cls, text)
        message.code, message.data = code, values
        return message

    def __getnewargs__(self) -> tuple[str, str, dict[str, Any]]:  # type: ignore[override]
        """What a copy is made from."""
        return str(self), self.code, self.data

    def with_text(self, text: str) -> Message:
        """The same message in other words."""
        return Message(text, self.code, self.data)

    def to_json(self) -> dict[str, Any]:
        """The code, the data, and the sentence."""
        return {"code": self.code, **self.data, "text": str(self)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Message:
        """The message that `to_json` described.

        Raises:
            KeyError: code or text is missing.
            ValueError: the code is not in `CODES`.
        """
        data = {key: value for key, value in values.items() if key not in ("code", "text")}
        return cls(values["text"], values["code"], data)


def cause_of(problem: str) -> dict[str, Any]:
    """What a message says of the problem that it wraps: its code as `cause`, and its data; nothing of a plain text."""
    return {**problem.data, "cause": problem.code} if isinstance(problem, Message) else {}


def printable(text: str, keep: str = "") -> str:
    """The text with control characters, invisible ones and lone surrogates written as escapes of Python.

    Names come from files that anybody can have made: an escape sequence would steer the terminal, a mark of writing
    direction would show another name than the real one.

    Args:
        text: what is to be shown.
        keep: characters that stay, such as a line break.
    """
    if text.isprintable():
        return str(text)
    return "".join(
        sign
        if sign in keep or sign.isprintable() or unicodedata.category(sign) == "Zs"
        else sign.encode("unicode_escape").decode("ascii")
        for sign in text
    )
