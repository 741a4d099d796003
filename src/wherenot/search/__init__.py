"""Searches for the order of regions that best carries the decision.

A search knows no model and no image: it asks for values of subsets and answers with an order.
"""

from wherenot.search.bidirectional import Bidirectional, Eagle
from wherenot.search.engine import greedy_search, search_cost
from wherenot.search.exact import Exact
from wherenot.search.fast import Fast, Turbo
from wherenot.search.lazy import Lazy
from wherenot.search.memo import Memo, Request, Subset, keep_rows, subset_of
from wherenot.search.names import SEARCHES, SearchName, parse_search
from wherenot.search.scoped import Scoped
from wherenot.search.values import values_of
from wherenot.search.walk import TIE, Ranking, Search, Walk, descending

__all__ = [
    "SEARCHES",
    "TIE",
    "Bidirectional",
    "Eagle",
    "Exact",
    "Fast",
    "Lazy",
    "Memo",
    "Ranking",
    "Request",
    "Scoped",
    "Search",
    "SearchName",
    "Subset",
    "Turbo",
    "Walk",
    "descending",
    "greedy_search",
    "keep_rows",
    "parse_search",
    "search_cost",
    "subset_of",
    "values_of",
]
