"""By what models are judged: measures with their units, and what a sample of inputs says of each."""

from netsurgeon.pipeline.verification.measures.base import Batch, Measure, Reading, batches_of, check_dense, ends_of
from netsurgeon.pipeline.verification.measures.classes import F1, Top1, TopAgreement
from netsurgeon.pipeline.verification.measures.confidence import (
    DropEstimate,
    expected_drop,
    has_enough_samples,
    least_inputs,
    paired_proportion_ci,
    pool_folds,
)
from netsurgeon.pipeline.verification.measures.distances import (
    Cosine,
    OutputEnergy,
    Psnr,
    SquaredDifference,
    peak_of,
)
from netsurgeon.pipeline.verification.measures.output_losses import (
    float_outputs,
    lost_share,
    output_divergence,
    output_loss,
    output_losses,
    score_divergence,
)
from netsurgeon.pipeline.verification.measures.own_metric import OwnMetric, load_metric
from netsurgeon.pipeline.verification.measures.ranks import Auc, Spearman
from netsurgeon.pipeline.verification.measures.scales import COUNTED, MEANS, SCALES, Scale
from netsurgeon.pipeline.verification.measures.scoring import (
    Answers,
    check_classes,
    class_scores,
    hits_in_top,
    measurable,
)
from netsurgeon.pipeline.verification.measures.texts import Perplexity, TokenAgreement
from netsurgeon.pipeline.verification.measures.vectors import counted_positions, embeddings, vocabulary_output

__all__ = [
    "COUNTED",
    "F1",
    "MEANS",
    "SCALES",
    "Answers",
    "Auc",
    "Batch",
    "Cosine",
    "DropEstimate",
    "Measure",
    "OutputEnergy",
    "OwnMetric",
    "Perplexity",
    "Psnr",
    "Reading",
    "Scale",
    "Spearman",
    "SquaredDifference",
    "TokenAgreement",
    "Top1",
    "TopAgreement",
    "batches_of",
    "check_classes",
    "check_dense",
    "class_scores",
    "counted_positions",
    "embeddings",
    "ends_of",
    "expected_drop",
    "float_outputs",
    "has_enough_samples",
    "hits_in_top",
    "least_inputs",
    "load_metric",
    "lost_share",
    "measurable",
    "output_divergence",
    "output_loss",
    "output_losses",
    "paired_proportion_ci",
    "peak_of",
    "pool_folds",
    "score_divergence",
    "vocabulary_output",
]
