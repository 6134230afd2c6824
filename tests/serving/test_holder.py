"""The model in service follows the registry, whole models only, and never gets worse by a failure."""

import dataclasses
import gc
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import duckdb
import httpx
import pytest

from clv.errors import UnavailableError
from serving.features import FeatureStore
from serving.holder import Holder
from serving.registry import Registry, Version
from serving.settings import ServingSettings


@pytest.fixture
def changing(helpers, registry, tmp_path: Path):
    """A registry of its own, to be changed."""
    return helpers.make_registry(tmp_path)


def eventually(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def version_of(client: httpx.Client) -> str:
    return client.get("/ready").json()["version"]


def test_alive_before_ready_and_no_registry_is_made(helpers, changing) -> None:
    with helpers.serving(changing.serving, until_ready=False) as client:
        assert client.get("/health").json() == {"status": "alive"}
        assert client.head("/health").status_code == 200  # some balancers ask so
        eventually(lambda: "There is no registry" in client.get("/ready").text)
        for response in (client.get("/ready"), client.get("/model"), client.post("/predict", json={})):
            assert response.status_code == 503
            assert response.headers["content-type"] == "application/problem+json"
            assert int(response.headers["retry-after"]) >= 1
        assert client.get("/openapi.json").status_code == 200
    assert not (changing.settings.home / "mlflow.db").exists()


def test_promotion_rollback_and_refusal(helpers, changing, predictor) -> None:
    first = changing.register(predictor)
    with helpers.serving(changing.serving, until_ready=False) as client:
        eventually(lambda: "no version in stage Production" in client.get("/ready").text)
        changing.promote(first)
        eventually(lambda: client.get("/ready").status_code == 200)

        body = helpers.as_customers(helpers.random_customers(1))
        answers: list[httpx.Response] = []
        stop = threading.Event()

        def keep_asking() -> None:
            with httpx.Client(base_url=client.base_url) as other:
                while not stop.is_set():
                    answers.append(other.post("/predict", json=body))

        asking = threading.Thread(target=keep_asking)
        asking.start()
        second = changing.register(helpers.fit(seed=1))
        changing.promote(second)
        eventually(lambda: version_of(client) == second)
        changing.promote(first)
        eventually(lambda: version_of(client) == first)
        stop.set()
        asking.join()
        assert {answer.status_code for answer in answers} == {200}
        by_version = {answer.json()["model"]["version"]: set() for answer in answers}
        for answer in answers:
            by_version[answer.json()["model"]["version"]].add(answer.json()["predictions"][0]["expected_value"])
        assert set(by_version) == {first, second}
        assert all(len(values) == 1 for values in by_version.values())
        assert by_version[first] != by_version[second]

        spoilt = changing.register(predictor, spoil={"features.sql": "select 1 as customer_id from purchases, cutoffs"})
        changing.promote(spoilt)
        eventually(lambda: client.get("/model").json()["refused"] is not None)
        facts = client.get("/model").json()
        assert facts["model"]["version"] == first
        assert facts["refused"]["version"] == spoilt
        assert "features.sql does not make recency_days" in facts["refused"]["reason"]
        assert client.post("/predict", json=body).json()["model"]["version"] == first

        changing.promote(second)
        eventually(lambda: version_of(client) == second)
        assert client.get("/model").json()["refused"] is None

        store = changing.settings.home / "mlflow.db"
        shutil.move(store, store.with_suffix(".away"))
        eventually(lambda: client.get("/model").json()["registry"]["trouble"] is not None)
        assert client.post("/predict", json=body).status_code == 200
        shutil.move(store.with_suffix(".away"), store)
        eventually(lambda: client.get("/model").json()["registry"]["trouble"] is None)


def test_other_addresses_of_a_model(helpers, registry) -> None:
    for uri in ("models:/clv@production", "models:/clv/1", "models:/clv/latest", "models:/clv/production"):
        with helpers.serving(registry.serving.model_copy(update={"model_uri": uri})) as client:
            model = client.get("/model").json()
            assert model["model"]["version"] == "1"
            assert model["aliases"] == ["production"]


def test_model_says_all_there_is(api: httpx.Client, predictor) -> None:
    facts = api.get("/model").json()
    names = [feature["name"] for feature in facts["contract"]]
    assert names == list(predictor.encoder.features)
    assert facts["contract"][1]["maximum"] == 10_000
    assert facts["contract"][5]["values"] == ["MG", "RJ", "SP"]
    assert facts["about"]["evaluation"] == predictor.about["evaluation"]
    assert facts["about"]["importance"] == predictor.about["importance"]
    assert facts["registered_at"] <= facts["promoted_at"] <= facts["loaded_at"]
    assert facts["figures"] == ["gain_curve.png"]
    figure = api.get("/model/figures/gain_curve.png")
    assert figure.headers["content-type"] == "image/png"
    assert figure.content.startswith(b"\x89PNG")


@pytest.mark.parametrize("name", ["nothing.png", "..%2Fmodel.json", "%2Fetc%2Fpasswd"])
def test_only_figures_are_handed_out(api: httpx.Client, name: str) -> None:
    response = api.get(f"/model/figures/{name}")
    assert response.status_code == 404
    assert response.headers["content-type"] == "application/problem+json"


def test_api_key(helpers, registry) -> None:
    settings = ServingSettings(tracking_uri=registry.settings.tracking_uri, api_key="sésame")
    with helpers.serving(settings) as client:
        assert client.get("/health").status_code == 200
        for headers in ({}, {"x-api-key": "wrong"}):
            response = client.get("/model", headers=headers)
            assert response.status_code == 401
            assert "X-API-Key" in response.json()["detail"]
            for path in ("/predict", "/predict/purchases", "/explain", "/portfolio"):
                assert client.post(path, json={}, headers=headers).status_code == 401
            for path in ("/customers", "/customers/1", "/customers.parquet", "/model/report", "/metrics"):
                assert client.get(path, headers=headers).status_code == 401
        assert client.get("/model", headers={"x-api-key": "sésame".encode()}).status_code == 200


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda about: {**about, "contract": about["contract"][:-1]}, "other features than its encoder"),
        (lambda about: {**about, "contract": [{"name": "x"}]}, "incompletely"),
        (lambda about: {name: about[name] for name in about if name != "currency"}, "says nothing of currency"),
    ],
)
def test_a_contradictory_model_is_refused(predictor, spoil, reason: str) -> None:
    from serving.check import ModelRefusedError, check
    from serving.features import FeatureStore

    features = FeatureStore(threads=1)
    check(predictor, features)
    with pytest.raises(ModelRefusedError, match=reason):
        check(dataclasses.replace(predictor, about=spoil(predictor.about)), features)


def test_a_model_that_answers_nonsense_is_refused(predictor) -> None:
    from serving.check import ModelRefusedError, check
    from serving.features import FeatureStore

    with pytest.raises(ModelRefusedError, match="value_if_return that is negative or no number"):
        check(dataclasses.replace(predictor, value_cap=float("nan")), FeatureStore(threads=1))


def test_a_model_that_fails_is_refused(predictor, monkeypatch) -> None:
    from serving.check import ModelRefusedError, check
    from serving.features import FeatureStore

    def fail(*arguments: object) -> None:
        raise ValueError("Feature shape mismatch\nand more")

    monkeypatch.setattr(type(predictor), "predict_matrix", fail)
    with pytest.raises(ModelRefusedError, match=r"smoke prediction fails: ValueError: Feature shape mismatch$"):
        check(predictor, FeatureStore(threads=1))


def test_a_registry_that_is_away_is_told_without_its_password(
    helpers, registry, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    settings = registry.serving.model_copy(update={"tracking_uri": "http://user:s3cret@127.0.0.1:9/x"})
    with helpers.serving(settings, until_ready=False) as client:
        eventually(lambda: "is being loaded" not in client.get("/ready").text)
        assert client.get("/ready").status_code == 503
        assert "s3cret" not in client.get("/ready").text
    assert caplog.messages
    assert "s3cret" not in "".join(caplog.messages)


class Fails:
    """A registry whose one version fails as it is told to."""

    def __init__(self, error: Exception, predictor) -> None:
        self.error: Exception | None = error
        self.predictor = predictor
        self.loads = 0

    def resolve(self) -> Version:
        return Version("clv", "1", "models:/clv/1")

    def load(self, version: Version) -> tuple:
        self.loads += 1
        if self.error:
            raise self.error
        return self.predictor, Path(), None


PASSING = [OSError(28, "No space left on device"), MemoryError(), duckdb.OutOfMemoryException("no memory")]


@pytest.mark.parametrize("error", PASSING, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("where", ["files", "sql", "prediction"])
def test_what_the_machine_does_to_a_version_passes(
    predictor, error: Exception, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    features = FeatureStore(threads=1)
    registry = Fails(error, predictor)
    holder = Holder(registry, features, 1)
    with monkeypatch.context() as patch:
        if where != "files":
            registry.error = None
            broken, name = (features, "check") if where == "sql" else (type(predictor), "predict_matrix")
            patch.setattr(broken, name, lambda *_: (_ for _ in ()).throw(error))
        assert [holder.refresh(), holder.refresh()] == [True, True]  # there is no model yet: it is waited for
        assert registry.loads == 2
        assert holder.state.refused is None
        assert type(error).__name__ in holder.state.trouble
    registry.error = None
    assert holder.refresh()
    assert holder.state.model.version.version == "1"
    monkeypatch.setattr(registry, "resolve", lambda: (_ for _ in ()).throw(error))
    assert not holder.refresh()  # there is one: looks may get rarer
    assert holder.state.model.version.version == "1"


@pytest.mark.parametrize("error", [FileNotFoundError("model.json"), ValueError("no tree")])
def test_what_is_wrong_with_a_version_stays(predictor, error: Exception) -> None:
    holder = Holder(Fails(error, predictor), FeatureStore(threads=1), 1)
    assert [holder.refresh(), holder.refresh()] == [True, True]
    assert holder._registry.loads == 1
    assert "can't be loaded" in holder.state.refused.reason


def test_files_stay_as_long_as_they_are_served_and_no_longer(registry, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    asked = Registry(registry.settings.tracking_uri, "models:/clv/Production")
    given_up, _, _ = asked.load(asked.resolve())
    _, folder, files = asked.load(asked.resolve())
    del given_up, asked
    gc.collect()
    assert (folder / "model.json").exists()
    del files
    gc.collect()
    assert not list(tmp_path.iterdir())


def test_a_version_that_can_not_be_had_leaves_nothing(registry, tmp_path: Path, monkeypatch) -> None:
    import mlflow

    def broken(*, artifact_uri: str, dst_path: str) -> str:
        (Path(dst_path) / "half").touch()
        raise OSError("The line is dead.")

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(mlflow.artifacts, "download_artifacts", broken)
    asked = Registry(registry.settings.tracking_uri, "models:/clv/Production")
    with pytest.raises(UnavailableError, match="The line is dead"):
        asked.load(asked.resolve())
    gc.collect()
    assert not list(tmp_path.iterdir())


def test_files_are_fetched_once_however_often_they_fail(registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each copy of a remote version stays on the disk."""
    import mlflow

    fetched: list[str] = []
    download = mlflow.artifacts.download_artifacts
    monkeypatch.setattr(
        mlflow.artifacts, "download_artifacts", lambda **named: (fetched.append("once"), download(**named))[1]
    )
    monkeypatch.setattr(mlflow.pyfunc, "load_model", lambda *_, **__: (_ for _ in ()).throw(MemoryError()))
    asked = Registry(registry.settings.tracking_uri, "models:/clv/Production")
    for _ in range(3):
        with pytest.raises(MemoryError):
            asked.load(asked.resolve())
    assert fetched == ["once"]
