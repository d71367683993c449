"""The first of the models in `hostile`, and that its judge can tell right from wrong.

The rest takes a quarter of an hour: ``python tests/hostile.py``.
"""

import numpy as np
import pytest
from hostile import Wrong, check_error, check_warnings, ending, judge, listen
from hostile_draws import N_IN_SUITE, Recipe, draw_recipe

from skglmm import MixedLinearRegressor

AT_ONCE, N_PLAIN = 25, 50


@pytest.mark.parametrize(
    "first",
    [
        pytest.param(k, marks=[pytest.mark.slow] * (k >= N_PLAIN))
        for k in range(0, N_IN_SUITE, AT_ONCE)
    ],
)
def test_hostile_models_end_in_a_right_answer_or_in_words(first):
    lines = [judge(number)[1] for number in range(first, first + AT_ONCE)]
    failures = [line for line in lines if line is not None]
    assert not failures, "\n".join(failures)


def test_a_number_is_always_the_same_model():
    assert [draw_recipe(k) for k in range(9)] == [draw_recipe(k) for k in range(9)]


PLAIN = Recipe(7, "linear", "vi", "one", 60, "pandas", (), ())


def test_a_plain_model_is_checked_by_dense_algebra():
    assert ending(PLAIN) == ("right", None)


@pytest.mark.parametrize(
    ("method", "value"),
    [
        ("log_likelihood_", lambda model: model.log_likelihood_ + 1e-3),
        ("noise_variance_", lambda model: model.noise_variance_ * 1.001),
        ("noise_variance_", lambda model: np.nan),
    ],
    ids=["likelihood", "variance", "NaN"],
)
def test_a_fit_that_is_off_is_found(monkeypatch, method, value):
    fit = MixedLinearRegressor.fit

    def off(self, *args, **kwargs):
        fit(self, *args, **kwargs)
        setattr(self, method, value(self))
        return self

    monkeypatch.setattr(MixedLinearRegressor, "fit", off)
    assert ending(PLAIN)[0] == "wrong"


def test_a_method_that_stores_something_is_found(monkeypatch):
    predict = MixedLinearRegressor.predict

    def storing(self, *args, **kwargs):
        self.seen_ = True
        return predict(self, *args, **kwargs)

    monkeypatch.setattr(MixedLinearRegressor, "predict", storing)
    assert ending(PLAIN) == ("wrong", "a method has changed the model")


@pytest.mark.parametrize(
    "call",
    [
        lambda: np.linalg.inv(np.zeros((2, 2))),
        lambda: float("much"),
        lambda: np.ones(2) + np.ones(3),
        lambda: {}["g"],
    ],
    ids=["numpy", "Python", "shapes", "key"],
)
def test_an_error_that_nobody_wrote_is_no_answer(call):
    _, error, _, _ = listen(call)
    with pytest.raises(Wrong):
        check_error(error, "fit")


def test_a_warning_of_numpy_is_no_answer():
    _, _, caught, _ = listen(lambda: np.log(np.zeros(1)))
    with pytest.raises(Wrong, match="RuntimeWarning"):
        check_warnings(caught, "fit")
