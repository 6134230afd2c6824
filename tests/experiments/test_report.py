"""What is said of an evaluation."""

from experiments.report import what_is_added


def test_a_shop_where_everybody_spends_the_same_is_told_that_no_order_is_better() -> None:
    nothing = {"gini": [None, None, None], "verdict": "not distinguishable"}
    said = what_is_added({"added": {"btyd": nothing, "zero": nothing}})
    assert "can't be told: in the test windows everybody spent the same" in said
    assert "?" not in said


def test_what_is_known_is_told_beside_what_is_not() -> None:
    nothing = {"gini": [None, None, None], "verdict": "not distinguishable"}
    something = {"gini": [0.0123, -0.001, 0.02], "verdict": "not distinguishable"}
    said = what_is_added({"added": {"btyd": something, "zero": nothing}})
    assert "+0.012 (-0.001 to +0.020, not distinguishable) over BG/NBD" in said
