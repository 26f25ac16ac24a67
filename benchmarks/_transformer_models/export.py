"""Export small transformers with random weights as ONNX, in the forms that PyTorch's exporter gives them.

Run by a Python that has `transformers`, `torch`, `onnx`, `onnxscript` and `onnxruntime`, most of which netsurgeon does
not need:

    python benchmarks/_transformer_models/export.py FOLDER [--only llama]

Each model is exported with eager attention and with `scaled_dot_product_attention`, for opset 18 and 23. One more is
exported as PyTorch did before it had `dynamo`, at opset 17, and fused by ONNX Runtime's optimiser, which knows it.
Beside each `.onnx` lies an `.npz` of four inputs of it.
"""

from __future__ import annotations

import argparse
import dataclasses
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
import transformers
from onnxruntime.transformers import optimizer

FORMS = (("eager", 18), ("sdpa", 18), ("eager", 23), ("sdpa", 23))
LENGTH = 12
"""Tokens of a text; also frames of speech after the encoder's convolutions."""
HEADS, WIDTH, LAYERS = 4, 64, 2
WORDS = 97
FUSABLE = {"bert": "bert", "gpt2": "gpt2", "vit": "vit", "llama": "gpt2", "whisper": "bart"}
"""What ONNX Runtime's optimiser calls the kind of model."""


@dataclasses.dataclass(frozen=True)
class Exported:
    """A model to export: how it is built, its inputs, and which of their axes vary."""

    build: Callable[[str], torch.nn.Module]
    inputs: Callable[[], dict[str, torch.Tensor]]
    axes: dict[str, dict[int, str]]


class _Only(torch.nn.Module):
    """A model that takes named tensors in order and gives one tensor."""

    def __init__(self, model: torch.nn.Module, names: tuple[str, ...], output: str):
        super().__init__()
        self.model, self.names, self.output = model, names, output

    def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
        given = dict(zip(self.names, tensors, strict=True))
        return getattr(self.model(**given, **self._switches()), self.output)

    def _switches(self) -> dict[str, Any]:
        return {"use_cache": False} if hasattr(self.model.config, "use_cache") else {}


class _Cached(torch.nn.Module):
    """A causal language model that goes on from keys and values, a pair of tensors a layer, and gives the new ones."""

    def __init__(self, model: torch.nn.Module):
        super().__init__()
        self.model = model

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        position_ids: torch.Tensor,
        past: list[torch.Tensor],
    ) -> Any:
        cache = transformers.DynamicCache(list(zip(past[::2], past[1::2], strict=True)))
        result = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=cache,
            use_cache=True,
        )
        layers = result.past_key_values.layers
        return result.logits, [tensor for layer in layers for tensor in (layer.keys, layer.values)]


def _words() -> torch.Tensor:
    return torch.randint(0, WORDS, (4, LENGTH))


def _text() -> dict[str, torch.Tensor]:
    return {"input_ids": _words(), "attention_mask": torch.ones(4, LENGTH, dtype=torch.int64)}


def _placed_text() -> dict[str, torch.Tensor]:
    """With positions a text: the exporter's RotaryEmbedding takes no table that all texts share."""
    return {**_text(), "position_ids": torch.arange(LENGTH).expand(4, -1).clone()}


_TEXT_AXES = {name: {0: "batch", 1: "length"} for name in ("input_ids", "attention_mask")}


def _bert(attention: str) -> torch.nn.Module:
    config = transformers.BertConfig(
        vocab_size=WORDS, hidden_size=WIDTH, num_hidden_layers=LAYERS, num_attention_heads=HEADS,
        intermediate_size=2 * WIDTH, max_position_embeddings=64, attn_implementation=attention,
    )  # fmt: skip
    return _Only(transformers.BertModel(config), ("input_ids", "attention_mask"), "last_hidden_state")


def _vit(attention: str) -> torch.nn.Module:
    config = transformers.ViTConfig(
        image_size=32, patch_size=8, hidden_size=WIDTH, num_hidden_layers=LAYERS, num_attention_heads=HEADS,
        intermediate_size=2 * WIDTH, num_labels=10, attn_implementation=attention,
    )  # fmt: skip
    return _Only(transformers.ViTForImageClassification(config), ("pixel_values",), "logits")


def _gpt2(attention: str) -> torch.nn.Module:
    config = transformers.GPT2Config(
        vocab_size=WORDS, n_embd=WIDTH, n_layer=LAYERS, n_head=HEADS, n_positions=64, attn_implementation=attention
    )
    return _Only(transformers.GPT2LMHeadModel(config), ("input_ids", "attention_mask"), "logits")


def _llama_model(attention: str) -> torch.nn.Module:
    config = transformers.LlamaConfig(
        vocab_size=WORDS, hidden_size=WIDTH, num_hidden_layers=LAYERS, num_attention_heads=HEADS,
        num_key_value_heads=HEADS // 2, intermediate_size=2 * WIDTH, max_position_embeddings=64,
        attn_implementation=attention, tie_word_embeddings=False,
    )  # fmt: skip
    return transformers.LlamaForCausalLM(config)


def _llama(attention: str) -> torch.nn.Module:
    return _Only(_llama_model(attention), ("input_ids", "attention_mask", "position_ids"), "logits")


def _whisper(attention: str) -> torch.nn.Module:
    config = transformers.WhisperConfig(
        d_model=WIDTH, encoder_layers=LAYERS, encoder_attention_heads=HEADS, encoder_ffn_dim=2 * WIDTH,
        num_mel_bins=20, max_source_positions=LENGTH, decoder_layers=1, decoder_attention_heads=HEADS,
        attn_implementation=attention,
    )  # fmt: skip
    encoder = transformers.WhisperModel(config).get_encoder()
    return _Only(encoder, ("input_features",), "last_hidden_state")


def _cached_text() -> dict[str, Any]:
    past = [torch.randn(4, HEADS // 2, 5, WIDTH // HEADS) for _ in range(2 * LAYERS)]
    mask = torch.ones(4, LENGTH + 5, dtype=torch.int64)
    places = torch.arange(5, LENGTH + 5).expand(4, -1).clone()
    return {"input_ids": _words(), "attention_mask": mask, "position_ids": places, "past": past}


MODELS = {
    "bert": Exported(_bert, _text, _TEXT_AXES),
    "vit": Exported(_vit, lambda: {"pixel_values": torch.randn(4, 3, 32, 32)}, {"pixel_values": {0: "batch"}}),
    "gpt2": Exported(_gpt2, _text, _TEXT_AXES),
    "llama": Exported(_llama, _placed_text, {**_TEXT_AXES, "position_ids": {0: "batch", 1: "length"}}),
    "llama-cache": Exported(
        lambda attention: _Cached(_llama_model(attention)),
        _cached_text,
        {
            "input_ids": {0: "batch", 1: "length"},
            "attention_mask": {0: "batch", 1: "both"},
            "position_ids": {0: "batch", 1: "length"},
            "past": [{0: "batch", 2: "before"}] * (2 * LAYERS),  # type: ignore[dict-item]
        },
    ),
    "whisper": Exported(
        _whisper, lambda: {"input_features": torch.randn(4, 20, 2 * LENGTH)}, {"input_features": {0: "batch"}}
    ),
}


def built(name: str, attention: str) -> tuple[torch.nn.Module, dict[str, Any]]:
    """A model and its inputs, the same each time."""
    torch.manual_seed(0)
    model, inputs = MODELS[name].build(attention).eval(), MODELS[name].inputs()
    for parameter in model.parameters():  # fresh biases are zero, and would hide what becomes of them
        if parameter.ndim == 1:
            torch.nn.init.normal_(parameter, mean=float(parameter.mean()), std=0.1)
    return model, inputs


def export(name: str, attention: str, opset: int, path: Path) -> None:
    """Write one model, and four inputs of it beside it."""
    model, inputs = built(name, attention)
    axes = {
        k: [dict.fromkeys(d, torch.export.Dim.DYNAMIC) for d in v]
        if isinstance(v, list)
        else dict.fromkeys(v, torch.export.Dim.DYNAMIC)
        for k, v in MODELS[name].axes.items()
    }
    shapes = (tuple(axes[k] for k in inputs),) if isinstance(model, _Only) else axes
    names = [
        n for k, v in inputs.items() for n in ([f"{k}_{i}" for i in range(len(v))] if isinstance(v, list) else [k])
    ]
    torch.onnx.export(
        model, tuple(inputs.values()), str(path), dynamo=True, opset_version=opset, input_names=names,
        dynamic_shapes=shapes, external_data=False, optimize=True, verbose=False,
    )  # fmt: skip
    flat = [t for v in inputs.values() for t in (v if isinstance(v, list) else [v])]
    keep_inputs(dict(zip(names, flat, strict=True)), path)


def keep_inputs(inputs: dict[str, torch.Tensor], path: Path) -> None:
    """Write inputs beside a model: those that it takes."""
    given = [value.name for value in onnx.load(path).graph.input]
    np.savez(path.with_suffix(".npz"), **{k: inputs[k].numpy() for k in given})  # type: ignore[arg-type]


def fuse(name: str, path: Path) -> None:
    """Write what ONNX Runtime's optimiser makes of a model, and four inputs of it beside it."""
    model, inputs = built(name, "eager")
    torch.onnx.export(
        model, tuple(inputs.values()), str(path), dynamo=False, opset_version=17, input_names=list(inputs),
        dynamic_axes=MODELS[name].axes,
    )  # fmt: skip
    kind = FUSABLE[name]
    fused = optimizer.optimize_model(str(path), model_type=kind, num_heads=HEADS, hidden_size=WIDTH, opt_level=0)
    fused.save_model_to_file(str(path))
    keep_inputs(inputs, path)


def main() -> None:
    """Export everything into a folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", default="")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    warnings.simplefilter("ignore")
    for name in MODELS:
        if arguments.only and name != arguments.only:
            continue
        for attention, opset in FORMS:
            path = arguments.folder / f"{name}-{attention}-{opset}.onnx"
            try:
                export(name, attention, opset, path)
                print(path.name, sorted({node.op_type for node in onnx.load(path).graph.node}))
            except Exception as error:  # what the exporter cannot do is no reason to stop
                print(f"{path.name}: {type(error).__name__}: {str(error)[:300]}")
        if name in FUSABLE:
            path = arguments.folder / f"{name}-fused-17.onnx"
            fuse(name, path)
            print(path.name, sorted({node.op_type for node in onnx.load(path).graph.node if node.domain}))


if __name__ == "__main__":
    main()
