"""Data sets: images with classes or questions, and priors, from folders, in the formats of others, or built in."""

from wherenot.data.check import duplicates_across_splits as duplicates_across_splits
from wherenot.data.coco import read_coco as read_coco
from wherenot.data.cutouts import CutoutsConfig as CutoutsConfig
from wherenot.data.cutouts import cutouts as cutouts
from wherenot.data.decoy import decoy as decoy
from wherenot.data.folder import read_folder as read_folder
from wherenot.data.folder import write_folder as write_folder
from wherenot.data.image_text import read_image_text as read_image_text
from wherenot.data.image_text import write_image_text as write_image_text
from wherenot.data.imagenet_s import read_imagenet_s as read_imagenet_s
from wherenot.data.lists import read_lists as read_lists
from wherenot.data.lists import write_lists as write_lists
from wherenot.data.loading import load_dataset as load_dataset
from wherenot.data.saliency_bench import read_saliency_bench as read_saliency_bench
from wherenot.data.samples import DataError as DataError
from wherenot.data.samples import Dataset as Dataset
from wherenot.data.samples import ImageTextSample as ImageTextSample
from wherenot.data.samples import Rejected as Rejected
from wherenot.data.samples import Sample as Sample
from wherenot.data.samples import hold_out as hold_out
from wherenot.data.samples import limit as limit
from wherenot.data.voc import read_voc as read_voc
