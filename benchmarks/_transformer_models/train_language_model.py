"""A small causal language model trained on the training sentences of the STS benchmark, and its export."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch.nn import functional

VOCABULARY, WIDTH, HEADS, LAYERS, CONTEXT = 4096, 192, 6, 4, 64
STEPS, BATCH, RATE = 600, 32, 2e-3
CALIBRATION_WINDOWS = 256


class Block(torch.nn.Module):
    """Attention that looks back, and a gated feed-forward pair, each behind a normalization."""

    def __init__(self) -> None:
        super().__init__()
        self.attention_norm, self.forward_norm = torch.nn.RMSNorm(WIDTH), torch.nn.RMSNorm(WIDTH)
        self.query, self.key, self.value = (torch.nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(3))
        self.output = torch.nn.Linear(WIDTH, WIDTH, bias=False)
        self.gate, self.up = (torch.nn.Linear(WIDTH, 3 * WIDTH, bias=False) for _ in range(2))
        self.down = torch.nn.Linear(3 * WIDTH, WIDTH, bias=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Tokens, (batch, length, WIDTH), to the same."""
        batch, length, _ = tokens.shape
        normed = self.attention_norm(tokens)
        heads = [
            layer(normed).reshape(batch, length, HEADS, WIDTH // HEADS).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        ]
        mixed = functional.scaled_dot_product_attention(*heads, is_causal=True, dropout_p=0.1 if self.training else 0.0)
        tokens = tokens + self.output(mixed.transpose(1, 2).reshape(batch, length, WIDTH))
        normed = self.forward_norm(tokens)
        hidden = functional.silu(self.gate(normed)) * self.up(normed)
        return tokens + self.down(functional.dropout(hidden, 0.1, self.training))


class LanguageModel(torch.nn.Module):
    """Logits of the next token; the head is the table of the tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.positions = torch.nn.Embedding(VOCABULARY, WIDTH), torch.nn.Embedding(CONTEXT, WIDTH)
        self.blocks = torch.nn.ModuleList(Block() for _ in range(LAYERS))
        self.norm = torch.nn.RMSNorm(WIDTH)
        torch.nn.init.normal_(self.tokens.weight, std=0.05)
        torch.nn.init.normal_(self.positions.weight, std=0.02)

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        """Logits, (batch, length, VOCABULARY)."""
        positions = torch.arange(input_ids.shape[1], device=input_ids.device)
        tokens = self.tokens(input_ids) + self.positions(positions)
        for block in self.blocks:
            tokens = block(tokens)
        return self.norm(tokens) @ self.tokens.weight.T


def train_language_model(stsb: Path, output: Path) -> dict[str, float]:
    """Train, export `language.onnx`, and write `language_{calibration,test}.npz` with the next tokens in `labels`.

    Returns:
        the perplexity on sentences of the test split, and the number of parameters.
    """
    torch.manual_seed(0)
    texts = {split: read_sentences(stsb / f"sts-{split}.csv") for split in ("train", "dev", "test")}
    tokenizer = train_tokenizer(texts["train"])
    windows = {split: cut(tokenizer, sentences) for split, sentences in texts.items()}
    model = LanguageModel()
    optimizer = torch.optim.AdamW(model.parameters(), RATE, weight_decay=0.1, betas=(0.9, 0.95))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, STEPS, pct_start=0.1)
    draws = torch.Generator().manual_seed(0)
    for _ in range(STEPS):
        batch = windows["train"][torch.randint(len(windows["train"]), (BATCH,), generator=draws)]
        loss = functional.cross_entropy(model(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    model.eval()
    export(model, output)
    for split, name in (("train", "calibration"), ("dev", "dev"), ("test", "test")):
        chosen = windows[split] if name != "calibration" else windows[split][:CALIBRATION_WINDOWS]
        np.savez(output / f"language_{name}.npz", input_ids=chosen[:, :-1].numpy())
        np.save(output / f"language_{name}_next.npy", chosen[:, 1:].numpy())
    return {"perplexity": perplexity(model, windows["test"]), "parameters": sum(p.numel() for p in model.parameters())}


def export(model: LanguageModel, output: Path) -> None:
    """Write `language.onnx`, free in batch and length."""
    ids = torch.randint(VOCABULARY, (2, 12))
    axes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("sequence", max=CONTEXT)}
    torch.onnx.export(
        model, (ids,), output / "language.onnx", input_names=["input_ids"], output_names=["logits"],
        dynamic_shapes={"input_ids": axes}, opset_version=18, dynamo=True, external_data=False,
    )  # fmt: skip


@torch.no_grad()
def perplexity(model: LanguageModel, windows: torch.Tensor) -> float:
    """The exponential of the mean negative log-likelihood of a token."""
    losses = [
        functional.cross_entropy(model(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten(), reduction="none")
        for batch in windows.split(BATCH)
    ]
    return math.exp(float(torch.cat(losses).mean()))


def read_sentences(path: Path) -> list[str]:
    """All distinct sentences of a split, in the order of the file."""
    with path.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))
    return list(dict.fromkeys(sentence for row in rows for sentence in row[5:7]))


def train_tokenizer(sentences: list[str]) -> Tokenizer:
    """Byte pairs learnt from the training sentences; id 0 ends a sentence."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=["<end>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(sentences, trainer)
    return tokenizer


def cut(tokenizer: Tokenizer, sentences: list[str]) -> torch.Tensor:
    """Windows of CONTEXT tokens and the one that follows, (windows, CONTEXT + 1), sentences one after the other."""
    tokens = [token for encoding in tokenizer.encode_batch(sentences) for token in (*encoding.ids, 0)]
    count = len(tokens) // (CONTEXT + 1)
    return torch.tensor(tokens[: count * (CONTEXT + 1)]).reshape(count, CONTEXT + 1)
