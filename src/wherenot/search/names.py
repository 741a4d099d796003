"""Searches by name."""

from __future__ import annotations

from typing import Literal, get_args

from wherenot.search.bidirectional import Bidirectional, Eagle
from wherenot.search.exact import Exact
from wherenot.search.lazy import Lazy
from wherenot.search.scoped import Scoped
from wherenot.search.walk import Search

SearchName = Literal["exact", "scoped", "bidirectional", "eagle", "lazy"]

SEARCHES: dict[SearchName, Search] = {
    "exact": Exact(),
    "scoped": Scoped(),
    "bidirectional": Bidirectional(),
    "eagle": Eagle(),
    "lazy": Lazy(),
}


def parse_search(name: str) -> Search:
    """The search of that name.

    Raises:
        ValueError: If none has it.

    Example:
        >>> parse_search("scoped")
        Scoped(scope=8, update=20)
    """
    if name not in get_args(SearchName):
        raise ValueError(f"parse_search: no search is called {name!r}; choose one of {', '.join(SEARCHES)}.")
    return SEARCHES[name]
