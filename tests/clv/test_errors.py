import pytest

from clv.errors import first_line, masked


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("to http://user:s3cret@host:5000/api failed", "to http://***@host:5000/api failed"),
        ("(postgresql://user:s3/cr@et@host/x)", "(postgresql://***@host/x)"),
        ("'https://s3cret@host' is away", "'https://***@host' is away"),
        ("http://host:5000 has no models:/clv@production", "http://host:5000 has no models:/clv@production"),
        ("sqlite:////home/ana@shop/mlflow.db", "sqlite:////home/ana@shop/mlflow.db"),
    ],
)
def test_an_address_is_told_without_its_password(said: str, told: str) -> None:
    assert masked(said) == told
    assert first_line(ValueError(f"\n  {said}\nhttp://user:s3cret@host")) == told


def test_an_error_that_says_nothing_is_told_by_its_kind() -> None:
    assert first_line(ValueError("")) == "ValueError"
