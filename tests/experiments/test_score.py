"""Where `clv score` leaves its predictions."""

from pathlib import Path

import duckdb
import pandas as pd


def test_only_the_table(copy_of_lab, clv, tmp_path: Path) -> None:
    home = copy_of_lab.home
    kept = (home / "predictions" / "predictions.csv").read_bytes()
    (home / "predictions" / "predictions.csv").unlink()
    copy_of_lab.sql("delete from marts.customer_predictions")

    done = clv(home, "--json", "score", "--table")
    assert (done.code, done.json["path"]) == (0, None), done.err
    assert not (home / "predictions" / "predictions.csv").exists()
    with duckdb.connect(str(home / "warehouse.duckdb"), read_only=True) as connection:
        table = connection.sql("from marts.customer_predictions order by expected_value desc, customer_id").df()
    assert len(table) == done.json["customers"]

    named = tmp_path / "named.csv"
    assert clv(home, "score", "--table", "--predictions", named).code == 0
    assert named.read_bytes() == kept
    pd.testing.assert_frame_equal(
        pd.read_csv(named, dtype={"customer_id": str}), table[pd.read_csv(named, nrows=0).columns.tolist()]
    )
