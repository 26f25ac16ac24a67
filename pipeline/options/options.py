"""Everything a user can choose, checked in one place."""

from __future__ import annotations

import dataclasses
import reprlib
from pathlib import Path
from typing import Any

import numpy as np

from netsurgeon.passes.pruning import TILE_PATTERNS, LayerPattern, SharePattern, read_pattern
from netsurgeon.passes.solvers import UNCORRECTED
from netsurgeon.pipeline import notation
from netsurgeon.pipeline.data import check_path
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.notation import read_share
from netsurgeon.pipeline.options.goals import DEFAULT_DROP, Goals, read_goals
from netsurgeon.pipeline.options.groups import (
    DataOptions,
    GoalOptions,
    PruneOptions,
    QuantizeOptions,
    RepairOptions,
    ReportOptions,
    RuntimeOptions,
    StorageOptions,
    TrimOptions,
)
from netsurgeon.pipeline.options.row_numbers import read_rows
from netsurgeon.pipeline.options.signature import checks_names
from netsurgeon.pipeline.options.type_checks import check_types
from netsurgeon.pipeline.runtime import MOST_THREADS, Runtime, can_run, channel_block, measure_rates

BEST_EFFORT_PREFIX = "up-to:"
SPARSE_PROVIDER = "netsurgeon-sparse"
INTEGER_CHANNELS = 8
"""Channels that integer convolutions take at a time."""
MOST_NUMBER = 1 << 31
"""What whole numbers stay below."""


@checks_names
@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(
    ReportOptions,
    RuntimeOptions,
    DataOptions,
    StorageOptions,
    QuantizeOptions,
    RepairOptions,
    PruneOptions,
    TrimOptions,
    GoalOptions,
):  # a dataclass takes the fields of its last base first
    """Options of `compress`: all groups, and the checks that need more than one of them.

    Where neither a goal nor sparsity, trim, quantize (other than "none"), pattern, keep_zeros or layers are given, the
    goal is a `max_drop` of 1 %.
    """

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            InputError: one is of the wrong type or out of range.
        """
        check_types(self)
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.generic):  # the report and the model's metadata take Python's own numbers
                object.__setattr__(self, field.name, value.item())
        self._read_shares()
        _in_range("sparsity", self.pruned_share)
        if self.trim is not None and not 0.0 < self.trim_goal < 1.0:
            raise InputError(f"trim is {self.trim!r}, expected a share above 0 and below 1, or up-to:30%")
        self._check_choices()
        if self.multiple < 1:
            raise InputError(f"round-to is {self.multiple}, expected 1 or more")
        for name, sparsity in self.layers.items():
            _in_range(f"sparsity of layer {name!r}", float(sparsity))
        if self.damping is not None and not 0.0 < self.damping <= 10.0:
            raise InputError(f"damping is {self.damping}, expected a number above 0 and up to 10")
        counts = {"batch size": self.batch_size, "limit": self.limit, "threads": self.threads}
        for name, count in {**counts, "timed-batch": self.timed_batch}.items():
            if count is not None and count < 1:
                raise InputError(f"{name} is {count}, expected 1 or more")
        self._check_magnitudes()
        self._check_pattern()
        self._check_zeros()
        self._check_goals()

    def _check_choices(self) -> None:
        """Refuse words that are none of those an option knows; names of changes then stand there once, unspaced."""
        _one_of("importance", self.importance, notation.IMPORTANCES)
        _one_of("save", self.save, notation.SAVINGS)
        _one_of("method", self.method, notation.METHODS)
        _one_of("values", self.stored_values, notation.VALUES)
        _one_of("tables", self.tables, notation.TABLES)
        _one_of("names", self.names, notation.NAMES)
        object.__setattr__(self, "augment", notation.augmentations(self.augment))
        _one_of("target", self.target, notation.TARGETS)
        _one_of("ranges", self.ranges, notation.RANGES)
        _one_of("prefer", self.prefer, notation.PREFERENCES)
        for name, words in {"quantize": notation.QUANTIZE_MODES, "effort": notation.EFFORTS}.items():
            if getattr(self, name) is not None:
                _one_of(name, getattr(self, name), words)
        self.check_target()

    def _read_shares(self) -> None:
        """Put numbers in the place of shares that were given as text, such as "90%", and of files of rows."""
        if self.sparsity is not None:
            object.__setattr__(self, "sparsity", read_share("sparsity", self.sparsity))
        layers = {name: read_share(f"sparsity of layer {name!r}", share) for name, share in self.layers.items()}
        object.__setattr__(self, "layers", layers)
        rows = {name: read_rows(name, given) for name, given in self.drop_rows.items()}
        object.__setattr__(self, "drop_rows", rows)

    def _check_magnitudes(self) -> None:
        """Refuse whole numbers that no array and no system can take, and texts that are no paths."""
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, int) and abs(value) >= MOST_NUMBER:
                raise InputError(f"{field.name} is {reprlib.repr(value)}, expected less than {MOST_NUMBER:,}")
            if isinstance(value, Path):
                check_path(value, field.name)
        if self.threads is not None and self.threads > MOST_THREADS:
            raise InputError(f"threads is {self.threads}, expected at most {MOST_THREADS}")
        for library in self.custom_ops:
            check_path(library, "a library of custom operators")

    def _check_zeros(self) -> None:
        other_choice = self.sparsity or self.pattern or self.layers or self.method in UNCORRECTED
        if self.keep_zeros and other_choice:
            raise InputError(
                "with keep-zeros the zeros are those of the model: leave out sparsity, pattern, sparsities of layers "
                f"and the methods {' and '.join(UNCORRECTED)}"
            )

    def runtime(self, *, timed: bool = False) -> Runtime:
        """How sessions are made; `timed` = as the model will run in production, to be timed."""
        if timed:
            return Runtime(self.custom_ops, self.timed_provider, self.threads, deployed=True)
        return Runtime(self.custom_ops, self.provider)

    def _check_goals(self) -> None:
        goals = read_goals(self.max_drop, self.speedup, self.latency, self.max_size, self.max_macs)
        if goals is None:
            return
        if self.keep_zeros or self.sparsity is not None or self._pattern_says_share or self.layers:
            raise InputError(
                f"{goals} decides how many weights go: leave out sparsity, pattern, keep-zeros and sparsities of layers"
            )
        if goals.is_structural and self.pattern is not None:
            raise InputError(
                f"{goals} decides which units go, and a pattern of {self.pattern} holds weights in their places: reach "
                "it without a pattern, then give the smaller model the pattern"
            )
        if goals.is_structural and self.trim is not None:
            raise InputError(f"{goals} decides which units go: leave out trim")

    def _check_pattern(self) -> None:
        if self._pattern_says_share and self.sparsity is not None:
            raise InputError(f"a pattern of {self.pattern} decides how many weights go: leave out sparsity")
        if self._pattern_says_share and self.layers:
            raise InputError(f"a pattern of {self.pattern} leaves no sparsities to give to layers: use one of the two")
        if self.layer_pattern is not None and self.trim is not None:
            raise InputError(
                f"a pattern of {self.pattern} holds weights in their places, and trim moves them: trim first, then "
                "give the trimmed model the pattern"
            )

    @property
    def goals(self) -> Goals | None:
        """What the search is for; None where it is said what to do."""
        goals = read_goals(self.max_drop, self.speedup, self.latency, self.max_size, self.max_macs)
        is_instruction = self.keep_zeros or any(
            choice is not None for choice in (self.sparsity, self.trim, self.pattern, self.integer_mode)
        )
        return goals or (None if is_instruction or self.layers else Goals(max_drop=DEFAULT_DROP))

    @property
    def multiple(self) -> int:
        """`round_to`, or what stands for it."""
        if self.round_to is None and self.integer_mode is not None:
            return INTEGER_CHANNELS
        return channel_block(self.provider) if self.round_to is None else self.round_to

    @property
    def is_hasty(self) -> bool:
        """Whether the user wants a first look."""
        return self.effort == "fast"

    @property
    def may_choose_repair(self) -> bool:
        """Whether a search may repair by itself: the user wants the best model, and has not said how."""
        return self.repair is None and self.effort == "full" and self.goals is not None

    @property
    def repairs_structures(self) -> bool:
        """Whether a search judges models that lack units after a short repair."""
        return bool(self.repair) and self.effort == "full" and self.goals is not None and bool(self.goals.max_drop)

    @property
    def integer_mode(self) -> str | None:
        """`quantize`, where it asks for integers."""
        return None if self.quantize == "none" else self.quantize

    @property
    def stored_values(self) -> str:
        """`values`, or what stands for it."""
        if self.values is None and self.integer_mode is not None:
            return "float32"  # integers are made of them
        return self.values or ("codebook" if self.goals else "float16")

    @property
    def form(self) -> str:
        """How weights are kept: as integers of `integer_mode`, or as `stored_values`."""
        return self.integer_mode or self.stored_values

    def in_form(self, form: str) -> Options:
        """The same with weights kept in another form."""
        if form in notation.QUANTIZE_MODES:
            return dataclasses.replace(self, quantize=form, values=None)
        return dataclasses.replace(self, quantize="none", values=form)

    def forms_to_try(self, gains_by_integers: bool) -> tuple[str, ...]:
        """Forms for a goal, in turn: finer ones are for what a goal misses, and none where the user has chosen.

        Args:
            gains_by_integers: whether the model is faster on them.
        """
        if self.integer_mode is not None:
            return (self.integer_mode,)
        floats = (self.stored_values, *(() if self.values else finer_values(self.stored_values)))
        return (self.goal_mode, *floats) if gains_by_integers and self.may_choose_integers else floats

    @property
    def is_for_sparse_kernels(self) -> bool:
        """Whether kernels will run the model whose time falls with the weights that are kept."""
        return self.target == "cpu-sparse"

    @property
    def has_sparse_kernels(self) -> bool:
        """Whether weights lie in tiles of such kernels, and what runs on integers can use them."""
        return self.is_for_sparse_kernels and self.integer_mode in (None, "int8") and self.layer_pattern is not None

    @property
    def timed_provider(self) -> str:
        """The provider that models are timed in: that of sparse kernels where they are the target and it can run."""
        is_there = self.is_for_sparse_kernels and self.provider == "cpu" and can_run(SPARSE_PROVIDER)
        return SPARSE_PROVIDER if is_there else self.provider

    @property
    def goes_by_sparse_times(self) -> bool:
        """Whether a goal is reached by the times of such kernels: not where bytes count, or all stays on floats."""
        goals = self.goals
        is_of_drop = goals is not None and goals.max_drop is not None and goals.max_size is None
        may = self.integer_mode == "int8" or self.may_choose_integers
        return self.has_sparse_kernels and self._is_on_cpu and may and is_of_drop and self.prefer == "speed"

    def prepare_sparse_kernels(self) -> None:
        """Check that kernels are there whose times a goal depends on, and let them learn how fast this processor is.

        Raises:
            InputError: they are not.
        """
        if self.goes_by_sparse_times and not can_run(SPARSE_PROVIDER):
            raise InputError(
                f"for target cpu-sparse {self.goals} is reached by the times of {SPARSE_PROVIDER}'s kernels, and they "
                "cannot run here: install its wheel (docs/sparse.md) and onnxruntime 1.25 or later, or give --sparsity "
                "with --quantize int8 in place of a goal"
            )
        if self.goes_by_sparse_times:
            measure_rates(SPARSE_PROVIDER)

    @property
    def goal_mode(self) -> str:
        """On which integers a goal puts a model by itself: fewer bits of a weight make no kernel faster, zeros may."""
        return "int8" if self.is_for_sparse_kernels else "w4a8"

    @property
    def may_choose_integers(self) -> bool:
        """Whether a goal may put a model on integers by itself: the user has not said how weights are kept."""
        return self.quantize is None and self.values is None and self.goals is not None and self._is_on_cpu

    @property
    def _is_on_cpu(self) -> bool:
        """Whether models run on the processor that times them."""
        return self.provider == "cpu" or (self.is_for_sparse_kernels and self.provider == SPARSE_PROVIDER)

    @property
    def pruned_share(self) -> float:
        """`sparsity`, or what stands for it."""
        if self.sparsity is not None:
            return float(self.sparsity)
        pattern = self.layer_pattern
        if isinstance(pattern, SharePattern):
            return 1.0 - pattern.kept / pattern.size
        if self.trim is not None or self.keep_zeros or (self.integer_mode is not None and self.pattern is None):
            return 0.0
        return 0.5

    @property
    def keep_dangling_units(self) -> bool:
        """Whether units that nothing reads stay: by choice, or so that every weight keeps its place in a pattern."""
        return self.keep_unread or self.layer_pattern is not None

    @property
    def trim_best_effort(self) -> bool:
        """Whether less than was asked for may be trimmed."""
        return isinstance(self.trim, str) and self.trim.startswith(BEST_EFFORT_PREFIX)

    @property
    def only_trims_best_effort(self) -> bool:
        """Whether nothing else is asked for than to remove what units can save."""
        others = (self.pruned_share, self.layers, self.pattern, self.keep_zeros, self.goals)
        return self.trim_best_effort and not any(others)

    @property
    def trim_goal(self) -> float:
        """`trim` as a number.

        Raises:
            InputError: it is none.
        """
        share = self.trim.removeprefix(BEST_EFFORT_PREFIX) if isinstance(self.trim, str) else self.trim
        try:
            return read_share("trim", 0.0 if share is None else share)
        except InputError as error:
            raise InputError(f"trim is {self.trim!r}, expected a share such as 30% or 0.3, or up-to:30%") from error

    @property
    def layer_pattern(self) -> LayerPattern | None:
        """`pattern`, read, or what the target wants where every weight keeps its place.

        Raises:
            InputError: there is none of that name.
        """
        if self.pattern is None:
            goals = read_goals(self.max_drop, self.speedup, self.latency, self.max_size, self.max_macs)
            moves = self.trim is not None or self.keep_zeros or (goals is not None and goals.is_structural)
            return TILE_PATTERNS["k:64"] if self.is_for_sparse_kernels and not moves else None
        try:
            return read_pattern(self.pattern)
        except ValueError as error:
            raise InputError(f"pattern is {self.pattern!r}, {error}") from error

    @property
    def _pattern_says_share(self) -> bool:
        """Whether the pattern says how many weights go."""
        return self.layer_pattern is not None and self.layer_pattern.says_share

    def described(self) -> dict[str, Any]:
        """As JSON values, for the report, as they were given; paths by name only."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        values["layers"] = {name: float(sparsity) for name, sparsity in self.layers.items()}
        values["drop_rows"] = dict(self.drop_rows)
        values["pictures"] = dataclasses.asdict(self.pictures) if self.pictures else None
        values["classes"] = self.classes.name if self.classes else None
        values["timings"] = self.timings.name if self.timings else None
        del values["work"], values["cluster"], values["cluster_store"]  # say nothing of the result
        values["custom_ops"] = [Path(library).name for library in self.custom_ops]
        if callable(self.metric):
            values["metric"] = getattr(self.metric, "__qualname__", type(self.metric).__name__)
        return values


OPTION_GROUPS: tuple[type, ...] = (
    GoalOptions,
    PruneOptions,
    TrimOptions,
    RepairOptions,
    QuantizeOptions,
    StorageOptions,
    DataOptions,
    RuntimeOptions,
    ReportOptions,
)
"""All groups, in the order in which people are shown them."""


def finer_values(values: str) -> tuple[str, ...]:
    """The values that lose less of a weight than these, the next finer ones first."""
    return notation.VALUES[: notation.VALUES.index(values)][::-1]


def _in_range(name: str, value: float) -> None:
    if not 0.0 <= value < 1.0:
        raise InputError(
            f"{name} is {value}, expected at least 0 and less than 1 (90% or 0.9 removes nine weights in ten)"
        )


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise InputError(f"{name} is {value!r}, expected one of {', '.join(allowed)}")
