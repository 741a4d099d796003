"""Searches by name."""

from __future__ import annotations

from typing import Literal

from wherenot.search.bidirectional import Bidirectional, Eagle
from wherenot.search.exact import Exact
from wherenot.search.fast import Fast, Turbo
from wherenot.search.lazy import Lazy
from wherenot.search.scoped import Scoped
from wherenot.search.walk import Search

SearchName = Literal["exact", "scoped", "bidirectional", "eagle", "lazy", "fast", "turbo"]

SEARCHES: dict[SearchName, Search] = {
    "exact": Exact(),
    "scoped": Scoped(),
    "bidirectional": Bidirectional(),
    "eagle": Eagle(),
    "lazy": Lazy(),
    "fast": Fast(),
    "turbo": Turbo(),
}


def parse_search(name: str) -> Search:
    """The search of that name.

    Raises:
        ValueError: If none has it.

    Example:
        >>> parse_search("scoped")
        Scoped(scope=8, update=20)
    """
    for known, search in SEARCHES.items():
        if known == name:
            return search
    raise ValueError(f"parse_search: no search is called {name!r}; choose one of {', '.join(SEARCHES)}.")
