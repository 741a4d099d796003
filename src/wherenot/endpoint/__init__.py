"""Evidence for what vision-language models behind an OpenAI-compatible endpoint say."""

from wherenot.endpoint.config import EndpointConfig
from wherenot.endpoint.cost import EndpointCost, endpoint_cost
from wherenot.endpoint.errors import BudgetSpent, EndpointError
from wherenot.endpoint.explain import explain_endpoint

__all__ = ["BudgetSpent", "EndpointConfig", "EndpointCost", "EndpointError", "endpoint_cost", "explain_endpoint"]
