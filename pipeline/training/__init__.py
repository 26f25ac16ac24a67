"""Training with PyTorch: train, retrain, trim in rounds, export."""

from netsurgeon.pipeline.training.exporting import Exported, export
from netsurgeon.pipeline.training.retraining import Retraining, retrain
from netsurgeon.pipeline.training.scores import Scores
from netsurgeon.pipeline.training.training_run import Training, train

__all__ = [
    "Exported",
    "Retraining",
    "Scores",
    "Training",
    "export",
    "retrain",
    "train",
]
