"""Models: classifiers with their preprocessing, and vision-language models with their processors."""

from wherenot.models.building import ARCHITECTURES as ARCHITECTURES
from wherenot.models.building import build_classifier as build_classifier
from wherenot.models.building import load_classifier as load_classifier
from wherenot.models.classifier import Classifier as Classifier
from wherenot.models.classifier import read_photograph as read_photograph
from wherenot.models.clip import ZeroShot as ZeroShot
from wherenot.models.preprocess import Preprocess as Preprocess
from wherenot.models.scope import Scope as Scope
from wherenot.models.scope import train_only as train_only
from wherenot.models.vlm import VisionLanguageModel as VisionLanguageModel
from wherenot.models.vlm import load_vlm as load_vlm
