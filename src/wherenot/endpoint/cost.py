"""What explaining through an endpoint will cost at most, before it begins."""

from __future__ import annotations

from dataclasses import dataclass

from wherenot.search import Search, search_cost


@dataclass(frozen=True, kw_only=True)
class EndpointCost:
    """An upper bound for what a search asks of an endpoint.

    Attributes:
        pictures: Masked pictures.
        requests: Requests.
        tokens_each: Tokens of the largest request so far, the picture's included, by the server's own count; 0 if it
            does not say.
        kept: Readings that are known from before.
    """

    pictures: int
    requests: int
    tokens_each: int = 0
    kept: int = 0

    @property
    def tokens(self) -> int:
        """Tokens of all requests."""
        return self.requests * self.tokens_each

    def sentence(self) -> str:
        """The cost in a sentence.

        Example:
            >>> EndpointCost(pictures=100, requests=200, tokens_each=812).sentence()
            'At most 200 requests (100 masked pictures) of about 812 tokens each: 162,400 tokens.'
        """
        text = f"At most {self.requests:,} requests ({self.pictures:,} masked pictures)"
        if self.tokens:
            total = f"{self.tokens / 1e6:.1f} million" if self.tokens >= 1e6 else f"{self.tokens:,}"
            text += f" of about {self.tokens_each:,} tokens each: {total} tokens"
        text += "."
        return f"{text} {self.kept:,} readings are known from before." if self.kept else text


def endpoint_cost(
    search: Search, num_regions: int, max_regions: int | None = None, *, requests_each: int = 1, tokens_each: int = 0,
    kept: int = 0,
) -> EndpointCost:  # fmt: skip
    """What a search costs at most.

    Args:
        search: How the order is found.
        num_regions: Regions of the image.
        max_regions: Regions that are ordered; None for all.
        requests_each: Requests for each masked picture: 1 where the endpoint reads whole answers, otherwise one for
            each explained token.
        tokens_each: Tokens of one request.
        kept: Readings that are known from before.

    Example:
        >>> from wherenot.search import Exact
        >>> endpoint_cost(Exact(), 49, 10, requests_each=2).requests
        1784
    """
    pictures = search_cost(search, num_regions, max_regions) + 2  # nothing and everything
    return EndpointCost(pictures=pictures, requests=pictures * requests_each, tokens_each=tokens_each, kept=kept)
