"""Fixtures shared by the tests."""

from collections.abc import Iterator

import jaxtyping
import pytest


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what tests cache away from the user's own files."""
    monkeypatch.setenv("WHERENOT_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture
def unhooked() -> Iterator[None]:
    """Switch the run-time type checks off, so that a function's own check meets the wrong input, as at a user's."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
