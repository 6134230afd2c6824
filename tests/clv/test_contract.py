from pathlib import Path

import pytest
import yaml

from clv.contract import SNAPSHOTS_YAML, read_contract, snapshot_columns
from clv.errors import InputError


def test_the_mart_is_found_by_its_name(tmp_path: Path) -> None:
    described = yaml.safe_load(SNAPSHOTS_YAML.read_text(encoding="utf-8"))
    described["models"].insert(0, {"name": "other", "columns": []})
    path = tmp_path / "models.yml"
    path.write_text(yaml.safe_dump(described), encoding="utf-8")
    assert snapshot_columns(path) == snapshot_columns()
    assert read_contract(path) == read_contract()


def test_an_incomplete_checkout_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="complete checkout"):
        read_contract(tmp_path / "none.yml")
