"""Training with PyTorch: train, retrain, trim in rounds, export. Only this folder imports netsurgeon.models."""

from netsurgeon.pipeline.training.exporting import Exported, export
from netsurgeon.pipeline.training.retrain_options import MODES as RETRAIN_MODES
from netsurgeon.pipeline.training.retraining import Retraining, retrain
from netsurgeon.pipeline.training.scores import Scores
from netsurgeon.pipeline.training.training_options import VALIDATION
from netsurgeon.pipeline.training.training_run import Training, train

__all__ = [
    "RETRAIN_MODES",
    "VALIDATION",
    "Exported",
    "Retraining",
    "Scores",
    "Training",
    "export",
    "retrain",
    "train",
]
