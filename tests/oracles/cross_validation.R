# Scores of lme4 in test_search.py: R squared of each fold of sleepstudy, with known
# subjects (every fifth row) and new subjects (every sixth subject).
#
#     Rscript tests/oracles/cross_validation.R

suppressMessages(library(lme4))
row <- seq_len(nrow(sleepstudy)) - 1
subject <- match(sleepstudy$Subject, unique(sleepstudy$Subject)) - 1
folds <- list(known = row %% 5, new = subject %% 6)
control <- lmerControl(
  optimizer = "bobyqa",
  optCtrl = list(rhobeg = 0.2, rhoend = 1e-10, maxfun = 1e5)
)
score <- function(formula, held_out) {
  model <- lmer(formula, sleepstudy[!held_out, ], control = control)
  test <- sleepstudy[held_out, ]
  error <- test$Reaction - predict(model, test, allow.new.levels = TRUE)
  1 - sum(error^2) / sum((test$Reaction - mean(test$Reaction))^2)
}
for (effects in c("1", "1 + Days")) {
  formula <- as.formula(sprintf("Reaction ~ Days + (%s | Subject)", effects))
  for (name in names(folds)) {
    fold <- folds[[name]]
    scores <- sapply(sort(unique(fold)), function(k) score(formula, fold == k))
    cat(effects, name, format(scores, digits = 10), "\n")
  }
}
