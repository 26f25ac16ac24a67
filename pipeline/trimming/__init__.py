"""Which units go, what that saves and costs, and their removal."""

from netsurgeon.pipeline.trimming.choose import choose_units, proof_feeds, require_goal, why_not
from netsurgeon.pipeline.trimming.costs import saved_share
from netsurgeon.pipeline.trimming.facts import TrimFacts, trim_facts
from netsurgeon.pipeline.trimming.remove import below_ceiling, remove_units, with_unread
from netsurgeon.pipeline.trimming.structures import Structures, find_structures, named
from netsurgeon.pipeline.trimming.trim_plan import Trimmed, TrimPlan
from netsurgeon.pipeline.trimming.unit_finder import find_units, give_biases, no_units
from netsurgeon.pipeline.trimming.unit_prices import count_zeros

__all__ = [
    "Structures",
    "TrimFacts",
    "TrimPlan",
    "Trimmed",
    "below_ceiling",
    "choose_units",
    "count_zeros",
    "find_structures",
    "find_units",
    "give_biases",
    "named",
    "no_units",
    "proof_feeds",
    "remove_units",
    "require_goal",
    "saved_share",
    "trim_facts",
    "why_not",
    "with_unread",
]
