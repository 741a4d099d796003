"""Models: classifiers with their preprocessing."""

from wherenot.models.classifier import ARCHITECTURES as ARCHITECTURES
from wherenot.models.classifier import Classifier as Classifier
from wherenot.models.classifier import build_classifier as build_classifier
from wherenot.models.classifier import load_classifier as load_classifier
from wherenot.models.classifier import read_photograph as read_photograph
from wherenot.models.preprocess import Preprocess as Preprocess
