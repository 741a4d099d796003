"""Priors for images that nobody annotated, by models and by methods that need none; a person reviews them."""

from wherenot.proposals.proposing import Proposed as Proposed
from wherenot.proposals.proposing import asked_about as asked_about
from wherenot.proposals.proposing import propose as propose
from wherenot.proposals.sources import Proposal as Proposal
from wherenot.proposals.sources import ProposalConfig as ProposalConfig
from wherenot.proposals.sources import Source as Source
from wherenot.proposals.sources import Task as Task
from wherenot.proposals.sources import build_source as build_source
from wherenot.proposals.spread import Spreading as Spreading
from wherenot.proposals.spread import spreading_source as spreading_source
