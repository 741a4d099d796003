"""What every record of results promises."""

import dataclasses

import pytest


def assert_fixed(record):
    """It is made by keyword, is never changed, and is as small as a tuple."""
    names = [field.name for field in dataclasses.fields(record)]
    for name in names:
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(record, name, None)
    with pytest.raises(TypeError):
        type(record)(*(getattr(record, name) for name in names))
    assert not hasattr(record, "__dict__")
