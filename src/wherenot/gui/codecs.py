"""The formats in which models write actions, by name."""

from __future__ import annotations

from typing import Literal, Protocol, runtime_checkable

from wherenot.gui.actions import Action
from wherenot.gui.agentcpm import AgentCpm
from wherenot.gui.coordinates import Scale
from wherenot.gui.replies import Reply
from wherenot.gui.tool_calls import ToolCall
from wherenot.gui.ui_tars import UiTars


@runtime_checkable
class Codec(Protocol):
    """Writes actions as a model should, and reads what a model wrote.

    Reading gives back what was written, word for word; places to the precision of the scale.
    """

    def write(self, action: Action, *, scale: Scale, thought: str | None = None) -> str:
        """Write an action.

        Args:
            action: What is done.
            scale: The numbers in which the model writes places on this screen.
            thought: The reasoning that comes with it; None = none.

        Raises:
            ValueError: If the format cannot express the action or the thought.
        """
        ...

    def read(self, text: str, *, scale: Scale) -> Reply:
        """Read an output. Any text can be read: what is wrong with it is in the reply's faults.

        Args:
            text: All that the model wrote.
            scale: The numbers in which it writes places on this screen.
        """
        ...


CodecName = Literal["agentcpm", "mobile_use", "computer_use", "ui_tars", "ui_tars_v1"]

CODECS: dict[CodecName, Codec] = {
    "agentcpm": AgentCpm(),
    "mobile_use": ToolCall("mobile_use"),
    "computer_use": ToolCall("computer_use"),
    "ui_tars": UiTars(),
    "ui_tars_v1": UiTars(boxes=True),
}


def parse_codec(name: str) -> Codec:
    """The codec of that name.

    Raises:
        ValueError: If none has it.

    Example:
        >>> parse_codec("mobile_use")
        ToolCall(tool='mobile_use')
    """
    for known, codec in CODECS.items():
        if known == name:
            return codec
    raise ValueError(f"parse_codec: no format is called {name!r}; choose one of {', '.join(CODECS)}.")
