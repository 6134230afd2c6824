"""The truth of a synthetic shop: where it lies, and what its oracle would have predicted at the test cutoffs.

Nothing is fitted on it. It only tells how much of what is achievable a recipe achieves.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from clv.errors import ClvError
from clv.home import Home, remove, replacing
from clv.synth import Shop as SyntheticShop
from clv.synth import oracle, read_orders
from clv.synth.write import TRUTH_FOLDER, TRUTH_SHOP

if TYPE_CHECKING:
    from clv.evaluation import Evaluation
    from clv.snapshots import Shop

ORACLE = "oracle"
"""Its name among the models of an evaluation."""


def remember(home: Home, paths: Sequence[Path], fingerprint: str) -> None:
    """Note where the truth of the data that were loaded lies, if they are a synthetic shop as `clv synth` wrote it."""
    note = _note(home)
    folder = paths[0].absolute().parent if len(paths) == 1 else None
    if folder is None or not (folder / TRUTH_FOLDER / TRUTH_SHOP).is_file():
        remove(note)
        return
    with replacing(note) as temporary:
        temporary.write_text(json.dumps({"folder": str(folder), "fingerprint": fingerprint}), encoding="utf-8")


def with_oracle(home: Home, shop: Shop, evaluation: Evaluation) -> Evaluation:
    """Add the oracle to an evaluation; the same again where the shop is not synthetic or its files have gone."""
    from clv.predictor import Parts  # XGBoost with it, which `remember` needs not

    folder = _folder(home, shop)
    if folder is None or not evaluation.cutoffs:
        return evaluation
    try:
        truth, orders = SyntheticShop.load(folder / TRUTH_FOLDER / TRUTH_SHOP), read_orders(folder)
        found = []
        for cutoff, outcome in zip(evaluation.cutoffs, evaluation.outcomes, strict=True):
            best = oracle(truth, orders, cutoff, shop.horizon_days).set_index("customer_id").loc[outcome.customer_id]
            p_return, expected = best["p_return"].to_numpy(), best["expected_value"].to_numpy()
            value = np.divide(expected, p_return, out=np.zeros_like(expected), where=p_return > 0)
            found.append(Parts(p_return, value))
    except (ClvError, OSError, ValueError, KeyError):
        return evaluation  # the files are no longer what was loaded, so there is no truth to compare with
    return replace(evaluation, parts={**evaluation.parts, ORACLE: tuple(found)})


def _folder(home: Home, shop: Shop) -> Path | None:
    try:
        note = json.loads(_note(home).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return Path(note["folder"]) if note["fingerprint"] == shop.fingerprint else None


def _note(home: Home) -> Path:
    return home.root / "synthetic.json"
