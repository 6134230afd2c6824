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


def test_a_category_the_model_never_saw_counts_as_missing_and_is_told(copy_of_lab, clv) -> None:
    """A plain log has no categories at all: any is new to its model."""
    home = copy_of_lab.home
    before = clv(home, "--json", "score", "--table")
    assert (before.json["warnings"], before.err) == ([], "")
    copy_of_lab.sql(
        "update marts.customer_snapshots set first_state = 'XX', last_category = 'c' || hash(customer_id) % 25"
    )
    after = clv(home, "--json", "score", "--table")
    state, category = sorted(after.json["warnings"], reverse=True, key=lambda text: "first_state" in text)
    assert state == "first_state: 'XX' is not known to the model and counts as missing."
    assert category.startswith("last_category: 'c0', 'c1', ")
    assert category.endswith(" and 5 more are not known to the model and count as missing.")
    assert state in after.err
    assert after.json["expected_value"] == before.json["expected_value"]
