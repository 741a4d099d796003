"""Metrics: pure functions of tensors; no model, no files, no configuration.

`classification` says how often the model is right, `localization` where its evidence lies, `faithfulness` and `answers`
whether that evidence is what the model uses, `hallucination` how little has to be hidden until a wrong answer becomes
right, `clicks` how well an agent finds its target, `consistency` whether two pieces of evidence agree, and `statistics`
how sure we can be of any of these numbers.
"""

from wherenot.metrics.answers import Faithfulness as Faithfulness
from wherenot.metrics.answers import answer_faithfulness as answer_faithfulness
from wherenot.metrics.classification import ConditionalAccuracy as ConditionalAccuracy
from wherenot.metrics.classification import add_noise as add_noise
from wherenot.metrics.classification import conditional_accuracy as conditional_accuracy
from wherenot.metrics.classification import group_accuracy as group_accuracy
from wherenot.metrics.classification import noisy as noisy
from wherenot.metrics.classification import top_k_correct as top_k_correct
from wherenot.metrics.classification import worst_group_accuracy as worst_group_accuracy
from wherenot.metrics.clicks import ClickRates as ClickRates
from wherenot.metrics.clicks import ConditionalClicks as ConditionalClicks
from wherenot.metrics.clicks import click_distance_1000 as click_distance_1000
from wherenot.metrics.clicks import click_distance_px as click_distance_px
from wherenot.metrics.clicks import click_rates as click_rates
from wherenot.metrics.clicks import click_success as click_success
from wherenot.metrics.clicks import conditional_clicks as conditional_clicks
from wherenot.metrics.consistency import map_correlation as map_correlation
from wherenot.metrics.consistency import regions_iou as regions_iou
from wherenot.metrics.corruptions import corrupt as corrupt
from wherenot.metrics.corruptions import parse_corruption as parse_corruption
from wherenot.metrics.faithfulness import area_axis as area_axis
from wherenot.metrics.faithfulness import deletion_auc as deletion_auc
from wherenot.metrics.faithfulness import highest_confidence as highest_confidence
from wherenot.metrics.faithfulness import insertion_auc as insertion_auc
from wherenot.metrics.hallucination import answer_agrees as answer_agrees
from wherenot.metrics.hallucination import correction_rate as correction_rate
from wherenot.metrics.hallucination import mean_removed_area as mean_removed_area
from wherenot.metrics.hallucination import removed_area as removed_area
from wherenot.metrics.localization import energy_pointing as energy_pointing
from wherenot.metrics.localization import iou as iou
from wherenot.metrics.localization import pointing_argmax as pointing_argmax
from wherenot.metrics.localization import pointing_coverage as pointing_coverage
from wherenot.metrics.localization import pointing_expected as pointing_expected
from wherenot.metrics.localization import pointing_touch as pointing_touch
from wherenot.metrics.localization import region_coverage as region_coverage
from wherenot.metrics.significance import holm as holm
from wherenot.metrics.significance import paired_t as paired_t
from wherenot.metrics.statistics import Interval as Interval
from wherenot.metrics.statistics import Statistic as Statistic
from wherenot.metrics.statistics import bootstrap_interval as bootstrap_interval
from wherenot.metrics.statistics import over_seeds as over_seeds
from wherenot.metrics.statistics import paired_difference as paired_difference
from wherenot.metrics.statistics import ratio_interval as ratio_interval
from wherenot.metrics.statistics import worst_group_interval as worst_group_interval
