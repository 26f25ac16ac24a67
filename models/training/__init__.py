"""The training loop and what belongs to it: data, recipes, distillation, checkpoints, processes."""

from netsurgeon.models.training.checkpoints import load_checkpoint, load_state, save_checkpoint
from netsurgeon.models.training.datasets import Part, augment, seed_of_step, split
from netsurgeon.models.training.distillation import both, imitation, live_imitation
from netsurgeon.models.training.distributed import Process, find_device, process_group
from netsurgeon.models.training.loop import CHECKPOINT, Job, classification, error_of, outputs_of, write_rows
from netsurgeon.models.training.recipes import CIFAR, IMAGENET, LENET, RETRAIN, Recipe
from netsurgeon.models.training.rehearsal import choose_allocation
from netsurgeon.models.training.weights import load_arrays

__all__ = [
    "CHECKPOINT",
    "CIFAR",
    "IMAGENET",
    "LENET",
    "RETRAIN",
    "Job",
    "Part",
    "Process",
    "Recipe",
    "augment",
    "both",
    "choose_allocation",
    "classification",
    "error_of",
    "find_device",
    "imitation",
    "live_imitation",
    "load_arrays",
    "load_checkpoint",
    "load_state",
    "outputs_of",
    "process_group",
    "save_checkpoint",
    "seed_of_step",
    "split",
    "write_rows",
]
