"""What the search asks for: structures timed, plans tried at low fidelity, candidates made and scored."""

from __future__ import annotations

import copy
import dataclasses
import functools
import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from netsurgeon.passes.layers import find_layers
from netsurgeon.pipeline.compression import (
    AppliedPlan,
    ConvolveSliceAndPad,
    QuantizeLayers,
    RepairIntegers,
    RepairWeights,
    StepContext,
    apply_steps,
    trimmed_selection,
)
from netsurgeon.pipeline.messages import Message
from netsurgeon.pipeline.options import finer_values
from netsurgeon.pipeline.profiling import Timed, times_of_layers
from netsurgeon.pipeline.progress import part_of
from netsurgeon.pipeline.quantization import USUAL_KEPT, IntegerChoice, integers_of_a_weight, stand_in
from netsurgeon.pipeline.search.pruner import Pruner, SearchContext, Structure, record_name
from netsurgeon.pipeline.search.record import Point
from netsurgeon.pipeline.trimming import Structures, TrimPlan, named
from netsurgeon.pipeline.verification import DropEstimate, DropEvaluator, pool_folds

logger = logging.getLogger(__name__)

REFUSALS = {"not-repaired", "repair-loses"}
"""Codes of what is said of weights that were not tuned."""
ABREAST, ABREAST_FAST = 3, 2
"""Plans that are tried side by side at low fidelity: those that keep fewer weights only where these lose little. The
second for a first look."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Candidate:
    """A model that was made for real; where there are several folds it stands for the models of all, with their means.

    Attributes:
        structure: the units it has.
        share: by which it was asked for, see `Pruner.applied`.
        evidence: its estimated drop.
        kept: share of the weights kept.
        bits: of a weight that is kept, on average over those on integers; None where none are.
        bytes: of its file.
        repaired: whether its weights were tuned, in any fold.
        refusal: why they were not, though they should have been.
    """

    structure: Structure
    share: float
    evidence: DropEstimate
    kept: float
    bits: float | None
    bytes: int
    repaired: bool = False
    refusal: str | None = None


class CandidateEvaluator:
    """Makes what the search asks for, each once, and notes it in the points of its context."""

    def __init__(self, context: SearchContext):
        self.context = context
        self._is_provisional = any(fold.is_provisional for fold in context.folds)
        pruners = [
            Pruner(context, fold.calibration, f"fold-{at}-" if self._is_provisional else "")
            for at, fold in enumerate(context.folds)
        ]
        self._folds = [(pruner, fold.drop_evaluator) for pruner, fold in zip(pruners, context.folds, strict=True)]
        is_delivered = len(pruners) == 1 and not self._is_provisional
        self._pruner = pruners[0] if is_delivered else Pruner(context, context.calibration, parts=pruners)
        self._applied: dict[tuple[str, float], AppliedPlan] = {}
        self._candidates: dict[tuple[str, float], Candidate] = {}
        self._low_fidelity_estimates: dict[str, list[DropEstimate]] = {}
        self._delivered: CandidateEvaluator | None = None

    @property
    def points(self) -> list[Point]:
        """What was tried so far with this context, or with one that was made from it."""
        return self.context.points

    def in_form(self, form: str) -> CandidateEvaluator:
        """The same for candidates whose weights are kept in another form; `points` are those of both."""
        other = copy.copy(self)
        other._in_context(dataclasses.replace(self.context, options=self.context.options.in_form(form)))
        return other

    def _in_context(self, context: SearchContext) -> None:
        """Make candidates with this context from now on; what was measured stays."""
        pruner = self._pruner.with_context(context)
        self._folds = [
            (pruner if other is self._pruner else other.with_context(context), drop_evaluator)
            for other, drop_evaluator in self._folds
        ]
        self.context, self._pruner = context, pruner
        self._applied, self._candidates, self._delivered = {}, {}, None

    def repairing(self) -> CandidateEvaluator:
        """The same for candidates whose weights are repaired; `points` are those of both."""
        other = copy.copy(self)
        other._in_context(
            dataclasses.replace(self.context, options=dataclasses.replace(self.context.options, repair=True))
        )
        return other

    def as_delivered(self) -> CandidateEvaluator:
        """The same for candidates that are corrected on all that the delivered one is; `points` are those of both.

        It is this one where these are no others, or no inputs are left to judge them: halves that take turns see all.
        """
        if self._is_cross_validated or not self._is_provisional:
            return self
        if self._delivered is None:
            self._delivered = copy.copy(self)
            ((_, drop_evaluator),) = self._folds
            self._delivered._folds = [(self._pruner, drop_evaluator)]
            self._delivered._is_provisional, self._delivered._candidates = False, {}
        return self._delivered

    @property
    def _is_cross_validated(self) -> bool:
        return len(self._folds) > 1

    @property
    def guiding_samples(self) -> int:
        """Inputs that its candidates are judged on, those of all folds."""
        return sum(drop_evaluator.samples for _, drop_evaluator in self._folds)

    @property
    def form(self) -> str:
        """Form in which the weights of its candidates are kept."""
        return self.context.options.form

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """Those in its form that were judged, in turn."""
        return tuple(self._candidates.values())

    @property
    def is_integer(self) -> bool:
        """Whether its candidates are to run on integers."""
        return self.context.options.integer_mode is not None

    def notes_on_floats(self, candidate: Candidate) -> list[Message]:
        """Why a candidate stays on floats that was to run on integers; none where it does run on them."""
        if not self.is_integer or candidate.bits is not None:
            return []
        notes = self.applied(candidate.structure, candidate.share).notes
        return [note for note in notes if note.code == "not-quantized"]

    @property
    def finer(self) -> tuple[str, ...]:
        """Values that lose less of a weight than those its candidates are stored as."""
        return () if self.is_integer else finer_values(self.form)

    @property
    def can_try_units(self) -> bool:
        """Whether units may be chosen by guiding inputs: not where halves take turns, of which it would see both.

        Nor where a pattern holds weights in their places.
        """
        return not self._is_cross_validated and self.context.selection.pattern is None

    @property
    def integers(self) -> IntegerChoice:
        """Which layers of the dense model stay on floats where it runs on integers, and how fast it is then."""
        choices = self.context.choices
        if self.form not in choices:
            context = self._plain_context()
            zeros = 1.0 - USUAL_KEPT if self.context.selection.pattern is not None else 0.0
            context.options = dataclasses.replace(context.options, sparsity=zeros)
            chosen: IntegerChoice | None = QuantizeLayers().measure(context)
            assert chosen is not None
            choices[self.form] = chosen
        return choices[self.form]

    def _plain_context(self) -> StepContext:
        return self.context.step_context(self.context.selection, self.context.calibration, self.context.options)

    def structure(
        self, level: int, trim: TrimPlan | None, macs: float | None = None, timed: Timed | None = None
    ) -> Structure:
        """A structure, and what it leaves to prune."""
        selection = self.context.selection
        if trim is not None:
            selection = trimmed_selection(selection, trim)
        return Structure(level=level, trim=trim, selection=selection, macs=macs, timed=timed)

    def time(self, structures: Structures, level: int) -> Timed:
        """Time a structure without correcting it: how long a kernel takes does not depend on its weights' values."""
        context = self.context
        ticks = functools.partial(context.progress, "timing structures")
        ticks(0, 1)
        name = named(structures.plan(level).removed)

        def model() -> ir.Model:
            trimmed = structures.trimmed(context.dense, level, context.calibration).model
            floats = apply_steps([ConvolveSliceAndPad()], trimmed, self._plain_context())
            if context.options.integer_mode is None:
                return floats
            return stand_in(floats, context.options, self.integers.stay, context.calibration)

        # bits of a weight make no difference to the kernel
        kernels = "int8" if integers_of_a_weight(context.options) else context.options.integer_mode or ""
        return context.clock.time(f"{name} {kernels}".strip(), model, ticks)

    def stand_in(self, kept: float = 1.0) -> ir.Model:
        """A model that takes as long as the dense one on integers, with this share of the weights of each layer."""
        context = self.context
        floats = apply_steps([ConvolveSliceAndPad()], context.dense.clone(), self._plain_context())
        return stand_in(floats, context.options, self.integers.stay, context.calibration, kept)

    def milliseconds(self) -> dict[str, float]:
        """What the dense model's nodes take, layers each on the kernel that will run it; those that are known."""
        nodes = dict(self.context.clock.nodes())
        nodes |= times_of_layers(nodes, find_layers(self.context.dense.graph)[0])
        for name, times in (self.integers.times if self.is_integer else {}).items():
            nodes.pop(name, None)
            taken = times.floats if name in self.integers.stay else times.integers
            if taken is not None:
                nodes[name] = taken
        return nodes

    def evaluate_at_low_fidelity(
        self, structure: Structure, shares: Sequence[float], goes_on: Callable[[Sequence[DropEstimate]], bool]
    ) -> list[DropEstimate]:
        """The drop at these shares of the weights, pruned with little effort; weights are not rounded.

        Args:
            structure: what is pruned.
            shares: of the weights kept, falling; some at once are looked at (ABREAST).
            goes_on: whether smaller ones are looked at behind those that lose this, so that there may be fewer
                estimates than shares.
        """
        if structure.key in self._low_fidelity_estimates:
            return self._low_fidelity_estimates[structure.key]
        context, name = self.context, f"{self.context.name}rehearsal-{structure.key}"
        kept_estimates = context.work.facts(name)
        if kept_estimates is None:
            evidence: list[DropEstimate] = []
            at_once = ABREAST_FAST if context.options.is_hasty else ABREAST
            for start in range(0, len(shares), at_once):
                abreast = shares[start : start + at_once]
                of_folds = [self._estimates_at_low_fidelity(*fold, structure, abreast) for fold in self._folds]
                evidence += [pool_folds(estimates) for estimates in zip(*of_folds, strict=True)]
                if not goes_on(evidence):
                    break
            kept_estimates = [dataclasses.asdict(estimate) for estimate in evidence]
            context.work.keep_facts(name, kept_estimates)
        evidence = [DropEstimate(**values) for values in kept_estimates]
        for kept, estimate in zip(shares, evidence, strict=False):
            self.note("rehearsal", structure, kept=kept, drop=estimate.drop, bound=estimate.high)
        self._low_fidelity_estimates[structure.key] = evidence
        return evidence

    def candidate(self, structure: Structure, share: float) -> Candidate:
        """Prune and correct for real, in each fold, and judge."""
        key = (structure.key, share)
        if key not in self._candidates:
            self._candidates[key] = self._judged(structure, share)
        return self._candidates[key]

    def _judged(self, structure: Structure, share: float) -> Candidate:
        work, options = self.context.work, self.context.options
        name = f"{self.context.name}{record_name(options, structure, share)}"
        name = f"provisional-{name}" if self._is_provisional else name
        facts = work.facts(name)
        if facts is None:
            evidence, figures, repaired, refusal = [], [], False, None
            for pruner, drop_evaluator in self._folds:
                applied = self._made(pruner, structure, share)
                session = self.context.calibration.runtime.on_integers().session(applied.model)
                ticks = functools.partial(self.context.progress, "judging")
                evidence.append(drop_evaluator.estimate_drop(session, ticks))
                repaired, refusal = repaired or _is_repaired(applied), refusal or _repair_refusal(applied)
                kept = applied.plan.kept_share(structure.selection.sizes)
                figures.append((kept, _mean_bits(applied) or np.nan, self.context.size(applied.model)))
                if self._is_beyond(evidence):
                    break
            kept, bits, size = np.mean(figures, axis=0).tolist()
            facts = {
                "evidence": dataclasses.asdict(pool_folds(evidence)),
                "kept": kept,
                "bits": None if np.isnan(bits) else bits,
                "bytes": round(size),
                "repaired": repaired,
                "refusal": refusal,
            }
            work.keep_facts(name, facts)
        result = Candidate(structure=structure, share=share, **{**facts, "evidence": DropEstimate(**facts["evidence"])})
        drop, bound = result.evidence.drop, result.evidence.high
        form = f"{result.kept:.4f} of the weights kept as {self.form} ({result.bits} bits)"
        logger.info("candidate: %s, drop %.4f (bound %.4f), %d bytes", form, drop, bound, result.bytes)
        self.note(
            "candidate",
            structure,
            kept=result.kept,
            bits=result.bits,
            form=self.form,
            repaired=result.repaired,
            bytes=result.bytes,
            drop=drop,
            bound=bound,
        )
        return result

    def _is_beyond(self, evidence: Sequence[DropEstimate]) -> bool:
        """Whether a candidate loses more than it may even if it loses nothing in the folds that are left."""
        limit = self.context.max_drop
        return limit is not None and sum(estimate.drop for estimate in evidence) > limit * len(self._folds)

    def share_like(self, structure: Structure, kept: float) -> float:
        """What a candidate is asked for by that should lose what one on floats loses that keeps so many weights."""
        if not self.is_integer or not integers_of_a_weight(self.context.options):
            return kept
        pruner, _ = self._folds[0]
        return pruner.share_like(structure, kept, self.integers)

    def applied(self, structure: Structure, share: float) -> AppliedPlan:
        """What is delivered of a candidate, and how it was made."""
        return self._made(self._pruner, structure, share)

    def size(self, candidate: Candidate) -> int:
        """Bytes of the file that is delivered."""
        if self._is_provisional:
            return self.context.size(self.applied(candidate.structure, candidate.share).model)
        return candidate.bytes

    def note(self, kind: str, structure: Structure, **result: Any) -> None:
        """Remember what was tried: a point of this kind, with other fields of `Point`."""
        timed = structure.timed
        self.points.append(
            Point(
                kind=kind,
                macs=structure.macs,
                milliseconds=timed.model if timed else None,
                speedup=timed.speedup if timed else None,
                **result,
            )
        )

    def _made(self, pruner: Pruner, structure: Structure, share: float) -> AppliedPlan:
        """A pruner's candidate; those that may be delivered are held."""
        if pruner is not self._pruner:
            return pruner.applied(structure, share, lambda: self.integers)
        key = (structure.key, share)
        if key not in self._applied:
            self._applied[key] = pruner.applied(structure, share, lambda: self.integers)
        return self._applied[key]

    def _estimates_at_low_fidelity(
        self, pruner: Pruner, drop_evaluator: DropEvaluator, structure: Structure, shares: Sequence[float]
    ) -> list[DropEstimate]:
        context, estimates = self.context, []
        ticks = functools.partial(context.progress, "judging plans")
        for number, model in enumerate(pruner.pruned_at_low_fidelity(structure, shares)):
            session, ticks_of_plan = context.calibration.runtime.session(model), part_of(ticks, number, len(shares))
            if context.options.is_hasty and context.max_drop is not None:
                estimates.append(drop_evaluator.estimate_rough_drop(session, context.max_drop, ticks_of_plan))
            else:
                estimates.append(drop_evaluator.estimate_drop(session, ticks_of_plan))
        return estimates


def _is_repaired(applied: AppliedPlan) -> bool:
    """Whether the model has tuned weights, or integers."""
    names = (RepairWeights.name, RepairIntegers.name)
    return any(record.name in names and record.applied for record in applied.records)


def _repair_refusal(applied: AppliedPlan) -> str | None:
    """Why a model that should have been repaired was not."""
    messages = [*applied.warnings, *(record.undone for record in applied.records if record.undone is not None)]
    codes = ((message, {message.code, message.data.get("cause")}) for message in messages)
    return next((str(message) for message, either in codes if either & REFUSALS), None)


def _mean_bits(applied: AppliedPlan) -> float | None:
    """Bits of a weight that is kept, on average over the layers that run on integers."""
    layers = applied.integers.layers if applied.integers else ()
    kept = [(applied.plan.keep.get(layer.name, 0), layer.bits) for layer in layers if layer.bits is not None]
    total = sum(count for count, _ in kept)
    return sum(count * bits for count, bits in kept) / total if total else None
