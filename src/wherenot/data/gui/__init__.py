"""Data of graphical user interfaces: instructions on screenshots, with the element they are about as prior."""

from wherenot.data.gui.android_steps import read_android_steps as read_android_steps
from wherenot.data.gui.elements import read_elements as read_elements
from wherenot.data.gui.elements import target_element as target_element
from wherenot.data.gui.elements import target_prior as target_prior
from wherenot.data.gui.screenspot import read_screenspot as read_screenspot
from wherenot.data.gui.tasks import read_agentcpm as read_agentcpm
from wherenot.data.gui.tasks import read_gui as read_gui
from wherenot.data.gui.writing import write_gui as write_gui
