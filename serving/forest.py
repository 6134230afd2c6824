"""A model's trees for many customers at once: several times as fast as XGBoost's walk, and the same to the last bit.

XGBoost leads each customer down each tree, node by node. Here hundreds of customers go down all trees together. Each
condition that occurs in the trees ("recency_days < 31") is answered once: a bit per customer, 64 customers to a word.
Then, level by level, each tree takes the answers of the nodes its customers are at, by logic on whole words. The
answers on a customer's way are the digits of the number of a leaf. Leaves are added up as XGBoost does it: tree by
tree, in single precision.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from clv.predictor import Predictor

Array = NDArray[np.float64]

FEWEST = 32
"""XGBoost is as fast with fewer customers."""

_MOST_LEVELS = 8
"""Each level doubles the nodes: XGBoost is better with deep trees. And a leaf's number has to fit into a byte."""

_CHUNK = 512
"""Customers at a time, so that all that is known of them stays in the processor's cache. With 1,024, arrays are so
large that each is asked of the system anew and given back, which costs more than the trees."""

_logger = logging.getLogger(__name__)


class _Condition(NamedTuple):
    """What a node asks; the left child is next if it holds.

    Attributes
    ----------
    feature
        Position of the feature.
    if_missing
        Whether it holds for a customer whose feature is missing.
    below
        It holds for smaller values; None where the feature is a category.
    outside
        It holds for the categories that are none of these.
    """

    feature: int
    if_missing: bool
    below: float | None
    outside: frozenset[int]


@dataclass(frozen=True)
class _Booster:
    """The trees of one booster, filled up to the same depth.

    Attributes
    ----------
    levels
        For each level the conditions of its nodes, by number, shape (nodes, trees). A node's place is the number whose
        digits are the answers on the way to it.
    leaves
        The values of all leaves, tree after tree.
    starts
        Where those of each tree start, shape (trees, 1).
    base
        What they are added to.
    """

    levels: Sequence[NDArray[np.intp]]
    leaves: NDArray[np.float32]
    starts: NDArray[Any]
    base: np.float32

    @classmethod
    def of(cls, trees: Sequence[Mapping[str, Any]], base: float, numbers: Mapping[_Condition, int]) -> _Booster:
        """Lay out XGBoost's trees."""
        depth = max(map(_depth, trees), default=0)
        levels = [np.zeros((2**level, len(trees)), np.intp) for level in range(depth)]
        leaves = np.empty((len(trees), 2**depth), np.float32)
        for column, tree in enumerate(trees):
            conditions = _conditions(tree)
            ahead = [(0, 0, 0)]
            while ahead:
                node, level, place = ahead.pop()
                if node in conditions:
                    levels[level][place, column] = numbers[conditions[node]]
                    ahead += [
                        (tree["right_children"][node], level + 1, 2 * place),
                        (tree["left_children"][node], level + 1, 2 * place + 1),
                    ]
                else:  # whatever is asked further down leads to this leaf
                    width = 2 ** (depth - level)
                    leaves[column, place * width : (place + 1) * width] = tree["split_conditions"][node]
        starts = np.arange(len(trees))[:, None] * 2**depth
        return cls(levels, leaves.ravel(), starts.astype(np.min_scalar_type(leaves.size)), np.float32(base))

    def margins(self, answers: NDArray[np.uint64]) -> NDArray[np.float32]:
        """The margin of each customer, from the answers to all conditions, shape (conditions, words)."""
        leaf: NDArray[Any] = np.zeros((1, answers.shape[1] * 64), np.uint8)
        taken: list[NDArray[np.uint64]] = []
        for level in self.levels:
            nodes = answers.take(level, axis=0)
            for answer in taken:  # from the top: each leaves one half of the nodes
                no, yes = nodes[: len(nodes) // 2], nodes[len(nodes) // 2 :]
                nodes = no ^ ((no ^ yes) & answer)
            taken.append(nodes[0])
            leaf = 2 * leaf + np.unpackbits(nodes[0].view(np.uint8), axis=1)
        values = self.leaves.take(leaf + self.starts, mode="wrap")  # numpy's fastest; no leaf is out of range
        margins: NDArray[np.float32] = np.add.reduce(values, axis=0, initial=self.base)
        return margins


@dataclass(frozen=True)
class _Sets:
    """The conditions on categories.

    Attributes
    ----------
    features, codes
        All categories, and for each feature "missing", which is NaN, shapes (categories,) and (categories, 1).
    outside
        Those for which a condition does not hold, by number, condition after condition.
    starts
        Where those of each condition start.
    """

    features: NDArray[np.intp]
    codes: NDArray[np.float32]
    outside: NDArray[np.intp]
    starts: NDArray[np.intp]

    @classmethod
    def of(cls, conditions: Sequence[_Condition], categories: Sequence[int]) -> _Sets:
        """Lay out conditions."""
        asked = sorted({one.feature for one in conditions})
        every = [(feature, code) for feature in asked for code in (*range(categories[feature]), None)]
        numbers = {category: number for number, category in enumerate(every)}
        outside: list[int] = []
        starts: list[int] = []
        for one in conditions:
            starts.append(len(outside))
            codes = [*sorted(one.outside), *(() if one.if_missing else (None,))]
            outside += [numbers[one.feature, code] for code in codes]
        return cls(
            np.array([feature for feature, _ in every], np.intp),
            np.array([[code] for _, code in every], np.float32).reshape(-1, 1),
            np.array(outside, np.intp),
            np.array(starts, np.intp),
        )

    def answers(self, values: NDArray[np.float32]) -> NDArray[np.uint64]:
        """The answers to the conditions, a bit per customer; `values` has a row per feature."""
        mine = values[self.features]
        has = np.where(np.isnan(self.codes), np.isnan(mine), mine == self.codes)
        return ~np.bitwise_or.reduceat(_packed(has).take(self.outside, axis=0), self.starts, axis=0)


def compiled(predictor: Predictor) -> BitForest | None:
    """The trees of a model for many customers; None where XGBoost has to do, which is right in any case.

    So it is without trees or with deep ones, for models from before this module (their predictors, which travel with
    them, take no margins from outside), and, with a warning, if XGBoost should come to mean something else by its JSON.
    """
    if not predictor.hurdles or not hasattr(predictor, "forest"):
        return None
    try:
        learner = json.loads(predictor.forest.booster.save_raw("json"))["learner"]
        model = learner["gradient_booster"]["model"]
        if not model["trees"] or max(map(_depth, model["trees"])) > _MOST_LEVELS:
            return None
        bases = json.loads(learner["learner_model_param"]["base_score"])
        encoder = predictor.encoder
        categories = [len(encoder.vocabulary.get(name, ())) for name in encoder.features]
        forest = BitForest(model["trees"], model["tree_info"], bases, categories)
        probe = forest.probe(500)
        both = zip(forest.margins(probe), predictor.forest.margins(probe), strict=True)
        is_same = all(np.array_equal(mine, theirs) for mine, theirs in both)
    except Exception:
        _logger.warning("The model's trees can't be read; large requests take longer.", exc_info=True)
        return None
    if not is_same:
        _logger.warning("The model's trees say something else than XGBoost; large requests take longer.")
        return None
    return forest


class BitForest:
    """The boosters of a model.

    Parameters
    ----------
    trees
        XGBoost's, as its JSON has them.
    owners
        Number of the booster that each tree belongs to.
    bases
        What each booster starts from: those of P(return), then those of the spend.
    categories
        How many categories each feature has, 0 for a number.
    """

    def __init__(
        self,
        trees: Sequence[Mapping[str, Any]],
        owners: Sequence[int],
        bases: Sequence[float],
        categories: Sequence[int],
    ) -> None:
        conditions = sorted({one for tree in trees for one in _conditions(tree).values()}, key=_kind)
        numbers = {condition: number for number, condition in enumerate(conditions)}
        self._categories = categories
        self._conditions = conditions
        self._thresholds: list[tuple[slice, int, bool, NDArray[np.float32]]] = []
        on_numbers = [one for one in conditions if one.below is not None]
        for (_, feature, if_missing), group in groupby(on_numbers, key=_kind):
            below = np.array([[one.below] for one in group], np.float32)
            first = self._thresholds[-1][0].stop if self._thresholds else 0
            self._thresholds.append((slice(first, first + len(below)), feature, if_missing, below))
        self._count = len(on_numbers)
        self._sets = _Sets.of(conditions[self._count :], categories)
        self._boosters = [
            _Booster.of([tree for tree, owner in zip(trees, owners, strict=True) if owner == number], base, numbers)
            for number, base in enumerate(bases)
        ]

    def margins(self, matrix: NDArray[np.float32]) -> tuple[Array, Array]:
        """Margins of P(return) and of the spend of each hurdle for an encoded matrix, both of shape (n, bags)."""
        chunks = [matrix[start : start + _CHUNK] for start in range(0, len(matrix), _CHUNK)]
        margins = np.concatenate([self._margins(chunk) for chunk in chunks]).astype(np.float64)
        bags = len(self._boosters) // 2
        return margins[:, :bags], margins[:, bags:]

    def _margins(self, matrix: NDArray[np.float32]) -> NDArray[np.float32]:
        answers = self._answers(matrix)
        return np.stack([booster.margins(answers)[: len(matrix)] for booster in self._boosters], axis=1)

    def _answers(self, matrix: NDArray[np.float32]) -> NDArray[np.uint64]:
        """The answers to all conditions, a bit per customer, shape (conditions, words)."""
        values = np.zeros((matrix.shape[1], -(-len(matrix) // 64) * 64), np.float32)
        values[:, : len(matrix)] = matrix.T
        lowest = np.fmax(values, np.float32(-np.inf))  # missing is below everything, where NaN is below nothing
        holds = np.empty((self._count, values.shape[1]), np.bool_)
        for where, feature, if_missing, below in self._thresholds:
            np.less((lowest if if_missing else values)[feature], below, out=holds[where])
        return np.concatenate([_packed(holds), self._sets.answers(values)])

    def probe(self, count: int, seed: int = 0) -> NDArray[np.float32]:
        """Encoded customers just below, at and above thresholds, or with something missing: where a slip would show."""
        draw = np.random.default_rng(seed)
        matrix = np.empty((count, len(self._categories)), np.float32)
        for feature, categories in enumerate(self._categories):
            below = [one.below for one in self._conditions if one.feature == feature and one.below is not None]
            at = np.array(below or [0.0], np.float32)
            near = np.concatenate([np.nextafter(at, np.float32(-np.inf)), at, np.nextafter(at, np.float32(np.inf))])
            values = np.arange(categories) if categories else near
            matrix[:, feature] = np.where(draw.random(count) < 0.1, np.nan, draw.choice(values, count))
        return matrix


def _conditions(tree: Mapping[str, Any]) -> dict[int, _Condition]:
    """What the inner nodes of a tree ask."""
    sets = zip(tree["categories_nodes"], tree["categories_segments"], tree["categories_sizes"], strict=True)
    outside = {node: frozenset(tree["categories"][start : start + size]) for node, start, size in sets}
    return {
        node: _Condition(
            feature=tree["split_indices"][node],
            if_missing=bool(tree["default_left"][node]),
            below=None if node in outside else tree["split_conditions"][node],
            outside=outside.get(node, frozenset()),
        )
        for node, left in enumerate(tree["left_children"])
        if left >= 0
    }


def _depth(tree: Mapping[str, Any], node: int = 0) -> int:
    """Levels of inner nodes from a node downwards."""
    left = tree["left_children"][node]
    return 0 if left < 0 else 1 + max(_depth(tree, left), _depth(tree, tree["right_children"][node]))


def _packed(holds: NDArray[np.bool_]) -> NDArray[np.uint64]:
    """Truths as bits, 64 to a word."""
    return np.packbits(holds).view(np.uint64).reshape(len(holds), holds.shape[1] // 64)


def _kind(condition: _Condition) -> tuple[bool, int, bool]:
    """Conditions of a kind are answered in one go."""
    return condition.below is None, condition.feature, condition.if_missing
