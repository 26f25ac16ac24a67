"""From the user's goals to candidates, and from candidates to one model."""

from netsurgeon.pipeline.search.candidate_search import SearchResult
from netsurgeon.pipeline.search.goal_search import GoalSearch
from netsurgeon.pipeline.search.provisional import ROWS_SHARE, provisional_inputs
from netsurgeon.pipeline.search.record import Point, SearchFacts

__all__ = [
    "ROWS_SHARE",
    "GoalSearch",
    "Point",
    "SearchFacts",
    "SearchResult",
    "provisional_inputs",
]
