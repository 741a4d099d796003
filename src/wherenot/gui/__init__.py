"""GUI agents: what they do, how models write it, screens to do it on, and penalties for looking elsewhere."""

from wherenot.gui.actions import Action as Action
from wherenot.gui.agentcpm import agentcpm_schema as agentcpm_schema
from wherenot.gui.agentcpm import schema_violations as schema_violations
from wherenot.gui.codecs import CODECS as CODECS
from wherenot.gui.codecs import Codec as Codec
from wherenot.gui.codecs import parse_codec as parse_codec
from wherenot.gui.coordinates import CONVENTIONS as CONVENTIONS
from wherenot.gui.coordinates import Convention as Convention
from wherenot.gui.coordinates import Scale as Scale
from wherenot.gui.coordinates import convention_of as convention_of
from wherenot.gui.coordinates import resized_for as resized_for
from wherenot.gui.coordinates import resized_size as resized_size
from wherenot.gui.matching import exact_match as exact_match
from wherenot.gui.matching import text_ratio as text_ratio
from wherenot.gui.matching import type_match as type_match
from wherenot.gui.replies import FAULTS as FAULTS
from wherenot.gui.replies import Reply as Reply
from wherenot.gui.replies import clicked_points as clicked_points
from wherenot.gui.replies import count_faults as count_faults
