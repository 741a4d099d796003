"""See which image regions a model's decision rests on, compare them with a prior, train until both agree."""

from wherenot.evidence import Evidence as Evidence
from wherenot.explain import explain as explain
from wherenot.masking import Normalization as Normalization
from wherenot.methods import Alignment as Alignment
from wherenot.methods import Batch as Batch
from wherenot.methods import Terms as Terms
from wherenot.objective import Objective as Objective
from wherenot.priors import Prior as Prior

__version__ = "0.1.0"
