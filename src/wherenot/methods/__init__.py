"""What training can add to the task loss: alignment, the baselines it is compared with, and controls."""

from wherenot.methods.alignment import PRESETS as PRESETS
from wherenot.methods.alignment import Alignment as Alignment
from wherenot.methods.augmentation import BackgroundSwap as BackgroundSwap
from wherenot.methods.augmentation import BoxGuided as BoxGuided
from wherenot.methods.base import Batch as Batch
from wherenot.methods.base import Method as Method
from wherenot.methods.base import Preparing as Preparing
from wherenot.methods.base import Terms as Terms
from wherenot.methods.base import WholeStep as WholeStep
from wherenot.methods.controls import Counterfactual as Counterfactual
from wherenot.methods.controls import RandomRegions as RandomRegions
from wherenot.methods.recomposition import Recomposition as Recomposition
