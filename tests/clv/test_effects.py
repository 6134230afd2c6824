import numpy as np
import pytest
from scipy import sparse
from scipy.integrate import quad
from scipy.stats import norm, poisson

from clv.effects import Effect, Regression, curve, drift, knots, smooth


def one_rate(count: float, prior_sd: float) -> Regression:
    effect = Effect(sparse.csr_array(np.ones((1, 1))), np.zeros(1), np.array([[prior_sd**2]]))
    return Regression({"rate": effect}, np.array([True]), np.array([count]), np.array([10.0]))


def test_mode_and_spread_are_those_of_the_exact_posterior() -> None:
    found = one_rate(40, 1.5).fit({}, 1.0, np.zeros(1))

    def density(theta: float) -> float:
        return float(poisson.pmf(40, 10 * np.exp(theta)) * norm.pdf(theta, scale=1.5))

    area, mean, square = (quad(lambda t, k=k: t**k * density(t), 0.3, 2.5)[0] for k in range(3))
    assert found.mode[0] == pytest.approx(mean / area, abs=0.02)
    assert found.precision[0, 0] ** -0.5 == pytest.approx(np.sqrt(square / area - (mean / area) ** 2), rel=0.03)


def test_the_evidence_compares_priors_as_the_exact_one_does() -> None:
    """Laplace's approximation, against the integral, for a prior that fits the count and one that does not."""

    def exact(prior_sd: float) -> float:
        return float(
            np.log(
                quad(lambda t: poisson.pmf(40, 10 * np.exp(t)) * norm.pdf(t, scale=prior_sd), -1, 3, points=[1.3])[0]
            )
        )

    regression = one_rate(40, 1.0)
    found = {sd: regression.fit({"rate": sd}, 1.0, np.zeros(1)).log_evidence for sd in (0.2, 1.5)}
    assert found[1.5] - found[0.2] == pytest.approx(exact(1.5) - exact(0.2), abs=0.1)
    assert found[1.5] > found[0.2] + 5


def test_dispersion_widens_as_fewer_counts_would() -> None:
    sharp, wide = (one_rate(40, 9.0).fit({}, dispersion, np.zeros(1)) for dispersion in (1.0, 4.0))
    assert wide.mode[0] == pytest.approx(sharp.mode[0], abs=0.01)
    assert sharp.precision[0, 0] / wide.precision[0, 0] == pytest.approx(4, rel=0.02)


def test_a_curve_interpolates_and_a_circle_closes() -> None:
    at = np.array([0.0, 1.0, 2.0])
    inside = curve(np.array([0.25, 1.5, 9.0]), at, drift(at, 1.0)).design.toarray()
    np.testing.assert_allclose(inside, [[0.75, 0.25, 0], [0, 0.5, 0.5], [0, 0, 1]])
    around = curve(np.array([0.0, 1.75, 2.0]), at, drift(at[:2], 1.0), periodic=True).design.toarray()
    np.testing.assert_allclose(around, [[1, 0], [0.75, 0.25], [1, 0]])


@pytest.mark.parametrize("covariance", [smooth, drift])
def test_covariances_are_positive_and_forget(covariance) -> None:
    found = covariance(np.linspace(0, 10, 30), 2.0)
    assert np.linalg.eigvalsh(found).min() > -1e-9
    assert found[0, 0] == 1
    assert found[0, -1] < 0.01


@pytest.mark.parametrize(("first", "last", "step"), [(0, 10, 3), (5, 5, 2), (-7.5, 0, 6)])
def test_knots_end_at_the_last_point_and_reach_the_first(first: float, last: float, step: float) -> None:
    found = knots(first, last, step)
    assert found[-1] == last
    assert found[0] <= first
    assert len(found) >= 2
