"""
================================
Random effects for boosted trees
================================

Boosted trees find interactions and thresholds that nobody thought of, but have no use
for a column of 1,500 labels. A mixed model knows what to do with the labels, but only
the shapes it was told. ``GroupEffectEncoder`` lets each do its part: it gives the trees
the effect of each group and how uncertain it is.
"""

# %%
# Shops and customers
# -------------------
# 1,500 shops, most of them with a few rows. The spending of a customer has a threshold
# in income, and shops differ. They also differ in *where* they are: some have richer
# customers, so that the mean of a shop's rows says as much about its customers as
# about the shop.

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import TargetEncoder

from skglmm import GroupEffectEncoder

random = np.random.RandomState(0)
share = random.gamma(1.0, size=1500)
shop = random.choice(1500, size=20_000, p=share / share.sum())
place = random.normal(size=1500)
income = place[shop] + random.normal(size=len(shop))
true_effect = random.normal(size=1500)
spending = (
    1.5 * np.clip(income, 0.0, None)
    + true_effect[shop]
    + random.normal(size=len(shop))
)
X = pd.DataFrame({"income": income, "shop": shop})
X_train, X_test, y_train, y_test = train_test_split(
    X, spending, train_size=0.4, random_state=0
)
print(
    f"rows of a shop in training, median: {X_train['shop'].value_counts().median()}"
)

# %%
# Four ways to treat the labels
# -----------------------------
# scikit-learn's ``TargetEncoder`` shrinks the mean of a shop's rows. The effect of a
# mixed model is what remains of the shop when its customers have been accounted for,
# if only by a straight line: the threshold is left to the trees. Both cross-fit in a
# pipeline. The last way does not: there the features have seen the targets that the
# trees are trained on.

trees = HistGradientBoostingRegressor(max_iter=50, random_state=0)
keep = ("passthrough", ["income"])
effects = GroupEffectEncoder("shop", random_state=0)
encoders = {
    "without the shop": make_column_transformer(keep),
    "target encoder": make_column_transformer(
        (TargetEncoder(), ["shop"]), keep
    ),
    "effect": make_column_transformer(
        (effects, ["income", "shop"]), keep
    ),
}
scores = {
    name: make_pipeline(encoder, trees)
    .fit(X_train, y_train)
    .score(X_test, y_test)
    for name, encoder in encoders.items()
}
encoder = encoders["effect"].fit(X_train, y_train)
trees.fit(encoder.transform(X_train), y_train)
scores["effect, not cross-fitted"] = trees.score(
    encoder.transform(X_test), y_test
)
pd.Series(scores, name="R2 of new rows").round(3)

# %%
# What the trees were given
# -------------------------
# What a shop truly adds is known here. The mean of its rows is about shop and
# customers: shops in rich places look good. The effect has the customers
# taken out. Of shops with few rows (pale) neither knows much, and the
# effect says so in its second column, the standard deviation.

shops = X_train.drop_duplicates("shop")
given = {
    "target encoder": TargetEncoder(random_state=0)
    .fit(X_train[["shop"]], y_train)
    .transform(shops[["shop"]])[:, 0],
    "effect": effects.fit(X_train, y_train).transform(shops)[:, 0],
}
rows = X_train["shop"].value_counts()[shops["shop"]].to_numpy()
figure, axes = plt.subplots(
    1, 2, sharey=True, figsize=(6, 3.4), layout="constrained"
)
for axis, (name, values) in zip(axes, given.items(), strict=True):
    axis.scatter(
        values,
        true_effect[shops["shop"]],
        c=np.log10(rows),
        cmap="Blues",
        vmin=-0.7,
        s=5,
    )
    r = np.corrcoef(values, true_effect[shops["shop"]])[0, 1]
    axis.set(xlabel=name, title=f"correlation {r:.2f}")
axes[0].set_ylabel("what the shop truly adds")
plt.show()
