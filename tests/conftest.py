"""Fixtures shared by the tests."""

import gc
import os
from collections.abc import Generator, Iterator

import jaxtyping
import pytest

os.environ["HF_HUB_OFFLINE"] = "1"  # read when the hub's package is imported; no test asks the hub, or waits for it


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Exempt what is imported from garbage collection: it stays, and every training looks through all there is."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


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
