"""
===========================================================
85개 카운티의 라돈: 변분 추론으로 적합하는 혼합 효과 모형
===========================================================

미네소타주의 주택 919채에서 라돈 농도를 측정했습니다. 어떤 카운티에는 측정값이
백 개가 넘지만, 단 하나뿐인 카운티도 있습니다. 집 한 채만 보고 그 카운티의 수준을
말할 수 있을까요? 혼합 효과 모형은 카운티마다 가진 정보만큼만 말하게 합니다.
TensorFlow Probability 튜토리얼의 순서를 따라가면서 R의 lme4와
결과를 비교해 봅니다. (영어판:
:ref:`sphx_glr_auto_examples_documents_plot_radon.py`)
"""

# %%
# 데이터
# ------
# ``floor`` 가 0이면 지하실, 1이면 1층에서 잰 값입니다. 목표 변수는 라돈 농도의
# 로그입니다.

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy.stats import gaussian_kde

from skglmm import MixedLinearRegressor
from skglmm.datasets import load_radon
from skglmm.inspection import (
    ConvergenceDisplay,
    RandomEffectsDisplay,
    UncertaintyDisplay,
)
from skglmm.interoperability import to_tfp

# sphinx_gallery_thumbnail_number = 1
X, y = load_radon(return_X_y=True, as_frame=True)
X = X[["floor", "county"]]

figure, axis = plt.subplots(figsize=(5, 3.2), layout="constrained")
grid = np.linspace(y.min(), y.max(), 200)
for floor, name in enumerate(["basement", "first floor"]):
    axis.plot(
        grid, gaussian_kde(y[X["floor"] == floor])(grid), label=name
    )
axis.set(xlabel="log radon (log pCi/L)", ylabel="density")
axis.legend(frameon=False)
plt.show()

# %%
# 지하실의 농도가 더 높습니다. 카운티별 측정값의 수는 고르지 않습니다.

houses = X["county"].value_counts()
few = (houses < 5).sum()
print(
    f"{len(houses)}개 카운티 가운데 {few}개는 측정값이 다섯 개 미만입니다."
)

# %%
# 모형
# ----
# 집 :math:`i` 가 카운티 :math:`j` 에 있을 때
#
# .. math::
#
#    y_i = \beta_0 + \beta_1\,\mathrm{floor}_i + b_{j(i)} + \varepsilon_i, \\
#    b_j \sim N(0, \tau^2), \quad \varepsilon_i \sim N(0, \sigma^2)
#
# 입니다. :math:`\beta` 는 모든 카운티가 함께 쓰는 고정 효과이고, :math:`b_j` 는
# 카운티마다 다른 임의 효과입니다. lme4 표기로는 ``log_radon ~ floor + (1 |
# county)`` 입니다. 여기에서는 그룹이 ``X`` 의 한 열일 뿐입니다.

model = MixedLinearRegressor(groups="county", solver="vi").fit(X, y)
model.fixed_effects_

# %%
# 1층의 로그 농도는 지하실보다 0.69만큼 낮습니다. 카운티 사이와 카운티 안에서
# 남는 표준편차는 다음과 같습니다.

model.variance_components_

# %%
# 수렴
# ----
# 선형 모형에서는 임의 효과의 사후 분포가 정규분포이므로 변분 하한(ELBO)이
# 로그 가능도와 같아집니다. 튜토리얼은 확률적 경사로 3,000번을 움직이지만, 뉴턴
# 방법으로는 다섯 번이면 충분합니다.

display = ConvergenceDisplay.from_estimator(model)
display.ax_.set_ylabel("-2 log-likelihood")
plt.show()

# %%
# 카운티 효과
# -----------
# 점은 사후 평균이고 선은 표준편차 하나의 폭입니다. 위로 갈수록 측정값이 많은
# 카운티입니다. 측정값이 적으면 효과는 0 쪽으로 끌려가고(축소, shrinkage) 구간은
# 넓어집니다.

figure, axis = plt.subplots(figsize=(5.2, 14), layout="constrained")
RandomEffectsDisplay.from_estimator(
    model, X, sort_by="size", coverage=0.6827, most_labels=85, ax=axis
)
axis.set_xlabel("effect on log radon")
axis.locator_params(axis="x", nbins=5)
plt.show()

# %%
# 불확실성은 측정값 수의 로그를 따라 거의 직선으로 줄어듭니다. 점선은 집을 한
# 채도 보지 않았을 때의 표준편차입니다.

display = UncertaintyDisplay.from_estimator(model, X)
display.ax_.set_ylabel("standard deviation (log pCi/L)")
plt.show()

# %%
# 처음 보는 카운티
# ----------------
# ``predict`` 는 아는 카운티에는 그 카운티의 수준을, 처음 보는 카운티에는 평균을
# 씁니다. 구간의 폭도 그만큼 달라집니다.

new = pd.DataFrame(
    {"floor": 0, "county": ["Hennepin", "Aitkin", "Nowhere"]}
)
lower, upper = model.predict_interval(new, coverage=0.9).T
new.assign(prediction=model.predict(new), lower=lower, upper=upper).round(
    2
)

# %%
# 확률 분포로 꺼내기
# ------------------
# ``to_tfp`` 는 적합한 모형을 TensorFlow Probability의 결합 분포와 사후 분포로 돌려줍니다.

joint, posterior = to_tfp(model, X)
joint.resolve_graph()

# %%
# 비교
# ----
# 튜토리얼의 값은 lme4와 10 % 안에서 맞습니다. 여기의 값은 표시한 자리까지 모두
# 맞습니다.

pd.DataFrame(
    {
        "document": [1.435, -0.670, 0.287, np.nan, np.nan],
        "here": [
            *model.fixed_effects_["estimate"],
            *model.variance_components_["std"],
            -2 * model.log_likelihood_,
        ],
        "lme4": [1.462, -0.693, 0.3282, 0.7556, 2171.305],
    },
    index=[
        "intercept",
        "floor",
        "sd of counties",
        "sd of residuals",
        "REML",
    ],
).round(4)
