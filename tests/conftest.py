"""Fixtures shared by the tests."""

import gc
import os
from collections.abc import Callable, Generator, Iterator

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
def typed(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run the command in this process, as a user types it; what it printed comes back as one line."""

    def call(*arguments: object, expect: int = 0) -> str:
        from wherenot.cli import main

        code = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert code == expect, (out, err)
        return " ".join((out + err).split())

    return call


@pytest.fixture
def unhooked() -> Iterator[None]:
    """Switch the run-time type checks off, so that a function's own check meets the wrong input, as at a user's."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
