"""Holds the model in service: loads it in the background, follows the registry, swaps whole models only."""

from __future__ import annotations

import atexit
import gc
import logging
import threading
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from clv.errors import ClvError, first_line
from serving.check import ModelRefusedError, check, check_successor, is_passing
from serving.customers import Coder
from serving.features import FeatureStore
from serving.follower import Follower
from serving.forest import compiled
from serving.model import ServedModel
from serving.registry import Registry, Version
from serving.schemas import CustomerReader

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Refusal:
    """A version that is not served though the registry names it."""

    version: str | None
    reason: str
    at: datetime


@dataclass(frozen=True)
class State:
    """Everything a request may want to know; replaced as a whole, never changed.

    Attributes
    ----------
    model
        The model in service, None until the first is loaded.
    refused
        The version the registry names but which failed its checks, if that is so now.
    trouble
        Why the registry could not be followed at the last attempt, if so.
    checked_at
        When the registry was last asked.
    """

    model: ServedModel | None = None
    refused: Refusal | None = None
    trouble: str | None = None
    checked_at: datetime | None = None


class Holder:
    """Follows the registry in a thread of its own.

    Parameters
    ----------
    registry
        Where the model comes from.
    features
        Runs a model's SQL when it is checked.
    poll_seconds
        Time between two looks at the registry.

    Attributes
    ----------
    state
        What is in service.
    refusals
        Versions refused so far.
    """

    def __init__(self, registry: Registry, features: FeatureStore, poll_seconds: float) -> None:
        self.state = State()
        self.refusals = 0
        self._registry = registry
        self._features = features
        self._tried = threading.Event()
        self._follower = Follower("clv-registry", self.refresh, poll_seconds, longest=4)

    def start(self) -> None:
        """Begin to load and follow; returns at once."""
        self._follower.start()

    def stop(self) -> None:
        """Stop following; the model stays usable."""
        self._follower.stop(timeout=1)

    def wait_for_first(self, timeout: float) -> None:
        """Wait until a model was loaded, or could not be."""
        self._tried.wait(timeout)

    def refresh(self) -> bool:
        """Ask the registry once and load what it names, if that is new; whether the next look may be as soon as ever.

        Whatever fails, the last good model stays. While there is none, its first promotion is waited for.
        """
        before = self.state
        try:
            after = self._next(before)
        except ClvError as error:
            after = replace(before, trouble=str(error))
            if before.trouble != after.trouble:
                _logger.warning("The registry can't be followed: %s", error)
        except Exception as error:
            # Whatever a registry or an artifact does, the service goes on with what it has.
            after = replace(before, trouble=f"{type(error).__name__}: {first_line(error)}")
            if before.trouble != after.trouble:
                _logger.exception("The registry can't be followed")
        self.state = replace(after, checked_at=datetime.now(UTC))
        self._tried.set()
        return after.trouble is None or after.model is None

    def _next(self, before: State) -> State:
        version = self._registry.resolve()
        if before.model is not None and before.model.version.uri == version.uri:
            renamed = before.model.version != version  # another stage or alias, the same files
            return State(model=replace(before.model, version=version) if renamed else before.model)
        if before.refused is not None and before.refused.version == version.version:
            return replace(before, trouble=None)  # versions never change: it would fail again
        try:
            return State(model=self._load(version))
        except ModelRefusedError as error:
            reason = f"Version {version.version or version.uri} is refused: {error}."
            _logger.error("%s", reason)
            self.refusals += 1
            return replace(before, refused=Refusal(version.version, reason, datetime.now(UTC)), trouble=None)

    def _load(self, version: Version) -> ServedModel:
        try:
            predictor, folder, files = self._registry.load(version)
        except ClvError:
            raise
        except Exception as error:
            if is_passing(error):
                raise
            # Anything may be wrong with the files of a model: they are code and binary trees.
            raise ModelRefusedError(
                f"its files can't be loaded: {type(error).__name__}: {first_line(error)}"
            ) from error
        check(predictor, self._features)
        if self.state.model is not None:
            check_successor(predictor, self.state.model.predictor)
        model = ServedModel(
            version=version,
            predictor=predictor,
            folder=folder,
            files=files,
            reader=CustomerReader(predictor.about["contract"]),
            coder=Coder(predictor.encoder),
            forest=compiled(predictor),
            loaded_at=datetime.now(UTC),
        )
        _settle_memory()
        _logger.info("Serving %s, stage %s", version.uri, version.stage)
        return model


def _settle_memory() -> None:
    """Take all that is loaded out of the garbage collector's sight: large requests are answered 4 times as fast."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()
    atexit.unregister(gc.unfreeze)
    atexit.register(gc.unfreeze)  # else DuckDB complains of leaks when the process ends
