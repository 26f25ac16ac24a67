"""The two sweeps of `compress`: measure what pruning costs each layer, then prune segment by segment."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from netsurgeon.passes import _linalg, solvers
from netsurgeon.passes._admm import Eigenbasis
from netsurgeon.passes._layers import Layer, find_layers
from netsurgeon.passes._masks import largest
from netsurgeon.passes.prune_weights import LayerPlan, PruneWeights
from netsurgeon.pipeline.budget import Cost
from netsurgeon.pipeline.calibrate import Calibration
from netsurgeon.pipeline.runtime import Feed
from netsurgeon.pipeline.sensitivity import Trial, measure_sensitivity

CURVE_DAMPING = 1e-2
Progress = Callable[[str, float], None]
"""Called with the name of the stage and the share of it that is done."""
