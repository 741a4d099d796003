"""Priors for all images from those that some of them have: learned by a linear model from what a network sees."""

from wherenot.spreading.drawn_priors import DrawnPriors as DrawnPriors
from wherenot.spreading.drawn_priors import PriorsOnDemand as PriorsOnDemand
from wherenot.spreading.spread import Images as Images
from wherenot.spreading.spread import Spread as Spread
from wherenot.spreading.spread import spread_priors as spread_priors
