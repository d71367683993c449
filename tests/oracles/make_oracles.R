# Poses the simulated problems to R and stores its answers; README.md beside this
# file says how. From this folder:  Rscript make_oracles.R [NAME ...]

suppressPackageStartupMessages({
  library(lme4)
  library(jsonlite)
})

draw <- function(seed) {
  set.seed(seed, "Mersenne-Twister", "Inversion", "Rejection")
}

labels_of <- function(prefix, index, width = 2) {
  paste0(prefix, formatC(index, width = width, flag = "0"))
}

# n rows spread over J levels, each level at least once
levels_for <- function(n, J, prob = NULL) {
  sample(c(seq_len(J), sample.int(J, n - J, replace = TRUE, prob = prob)))
}

normal <- function(n) round(rnorm(n), 3)
binary <- function(n, p = 0.5) rbinom(n, 1, p)

# J draws of correlated effects with standard deviations sd and correlations R
effects <- function(J, sd, R = diag(length(sd))) {
  matrix(rnorm(J * length(sd)), J) %*% chol(R) %*% diag(sd, length(sd))
}

correlation <- function(r) matrix(c(1, r, r, 1), 2)

# ---- designs -----------------------------------------------------------------

posed <- list()

pose <- function(name, seed, formula, simulate, family = "gaussian",
                 methods = if (family == "gaussian") c("reml", "ml") else "laplace",
                 ...) {
  posed[[name]] <<- list(name = name, seed = seed, formula = formula,
                         simulate = simulate, family = family, methods = methods, ...)
}

pose("nested_within_crossed", 101, "y ~ 1 + x1 + x2 + (1 | a) + (1 | ab) + (1 | c)",
  function() {
    n <- 600
    ab <- levels_for(n, 60)
    a <- (ab - 1) %/% 5 + 1
    k <- levels_for(n, 15)
    x1 <- normal(n)
    x2 <- binary(n)
    y <- 3 + 0.5 * x1 - x2 + rnorm(12, 0, 0.9)[a] + rnorm(60, 0, 0.6)[ab] +
      rnorm(15, 0, 0.7)[k] + rnorm(n)
    data.frame(x1, x2, y = round(y, 4), a = labels_of("a", a),
               ab = paste0(labels_of("a", a), ":b", (ab - 1) %% 5 + 1),
               c = labels_of("c", k))
  })

pose("crossed_10000_levels", 102, "y ~ 1 + x1 + (1 | s) + (1 | d) + (1 | k)",
  function() {
    n <- 30000
    s <- levels_for(n, 8800)
    d <- levels_for(n, 1000)
    k <- levels_for(n, 200)
    x1 <- round(rnorm(n), 1)
    y <- 2 + 0.3 * x1 + rnorm(8800, 0, 0.8)[s] + rnorm(1000, 0, 0.5)[d] +
      rnorm(200, 0, 0.3)[k] + rnorm(n)
    data.frame(x1, y = round(y, 2), s = paste0("s", s), d = paste0("d", d),
               k = paste0("k", k))
  }, start = c(0.8, 0.5, 0.3))

pose("slopes_on_two_factors", 103, "y ~ 1 + x1 + x2 + (1 + x1 | g) + (1 + x2 | h)",
  function() {
    n <- 1000
    g <- levels_for(n, 40)
    h <- levels_for(n, 30)
    x1 <- normal(n)
    x2 <- normal(n)
    u <- effects(40, c(1, 0.5), correlation(0.4))
    v <- effects(30, c(0.7, 0.4), correlation(-0.5))
    y <- 1 + 0.8 * x1 - 0.4 * x2 + u[g, 1] + u[g, 2] * x1 + v[h, 1] + v[h, 2] * x2 +
      rnorm(n)
    data.frame(x1, x2, y = round(y, 4), g = labels_of("g", g), h = labels_of("h", h))
  })

pose("three_effects", 104, "y ~ 1 + x1 + x2 + (1 + x1 + x2 | g)", function() {
  n <- 900
  g <- levels_for(n, 60)
  x1 <- normal(n)
  x2 <- binary(n)
  R <- matrix(c(1, 0.5, -0.3, 0.5, 1, 0.2, -0.3, 0.2, 1), 3)
  u <- effects(60, c(1.2, 0.6, 0.8), R)
  y <- 10 + x1 + 2 * x2 + u[g, 1] + u[g, 2] * x1 + u[g, 3] * x2 + rnorm(n)
  data.frame(x1, x2, y = round(y, 4), g = labels_of("g", g))
})

pose("slope_without_intercept", 105, "y ~ 1 + x1 + (0 + x1 | g) + (1 | h)",
  function() {
    n <- 600
    g <- levels_for(n, 40)
    h <- levels_for(n, 30)
    x1 <- normal(n) + 0.5
    y <- -1 + 0.6 * x1 + rnorm(40, 0, 0.7)[g] * x1 + rnorm(30, 0, 0.8)[h] + rnorm(n)
    data.frame(x1, y = round(y, 4), g = labels_of("g", g), h = labels_of("h", h))
  })

pose("slopes_uncorrelated", 106, "y ~ 1 + x1 + (1 | g) + (0 + x1 | g)", function() {
  n <- 400
  g <- levels_for(n, 35)
  x1 <- normal(n) + 1
  y <- 4 + 0.5 * x1 + rnorm(35, 0, 1)[g] + rnorm(35, 0, 0.5)[g] * x1 + rnorm(n)
  data.frame(x1, y = round(y, 4), g = labels_of("g", g))
})

pose("badly_scaled", 107, "y ~ 1 + x1 + x2 + (1 + x1 | g)", function() {
  n <- 500
  g <- levels_for(n, 40)
  x1 <- normal(n) + 0.5
  x2 <- normal(n)
  u <- effects(40, c(1, 0.6), correlation(0.3))
  y <- 5 + 0.7 * x1 - 0.3 * x2 + u[g, 1] + u[g, 2] * x1 + rnorm(n)
  data.frame(x1 = round(x1 * 1e6), x2, y = round(y, 4) + 1e7, g = labels_of("g", g))
}, x1_unit = 1e6, y_origin = 1e7)

pose("frequency_weights", 108, "y ~ 1 + x1 + (1 | g) + (1 | h)", function() {
  n <- 400
  g <- levels_for(n, 30)
  h <- levels_for(n, 20)
  x1 <- normal(n)
  y <- 2 + 0.5 * x1 + rnorm(30, 0, 0.8)[g] + rnorm(20, 0, 0.5)[h] + rnorm(n)
  data.frame(x1, y = round(y, 4), weight = sample(0:4, n, TRUE),
             g = labels_of("g", g), h = labels_of("h", h))
})

pose("linear_offset", 109, "y ~ 1 + x1 + offset(offset) + (1 | g)", function() {
  n <- 300
  g <- levels_for(n, 25)
  x1 <- normal(n)
  offset <- round(runif(n, -3, 6), 3)
  y <- offset + 1 + 0.4 * x1 + rnorm(25, 0, 0.7)[g] + rnorm(n)
  data.frame(x1, y = round(y, 4), offset, g = labels_of("g", g))
})

pose("unbalanced_partially_crossed", 110, "y ~ 1 + x1 + (1 | g) + (1 | h)",
  function() {
    n <- 400
    g <- levels_for(n, 80, 0.93^(1:80))
    # a level of g meets only a few neighbouring levels of h
    h <- (round(g * 50 / 80) + sample(0:6, n, TRUE)) %% 50 + 1
    x1 <- normal(n)
    y <- 0.5 + 0.7 * x1 + rnorm(80, 0, 1)[g] + rnorm(50, 0, 0.8)[h] + rnorm(n)
    data.frame(x1, y = round(y, 4), g = labels_of("g", g), h = labels_of("h", h))
  })

pose("nested_three_deep", 111, "y ~ 1 + x1 + (1 | a) + (1 | ab) + (1 | abc)",
  function() {
    n <- 600
    abc <- levels_for(n, 144)
    ab <- (abc - 1) %/% 3 + 1
    a <- (ab - 1) %/% 4 + 1
    x1 <- normal(n)
    y <- 1 + 0.5 * x1 + rnorm(12, 0, 1)[a] + rnorm(48, 0, 0.8)[ab] +
      rnorm(144, 0, 0.6)[abc] + rnorm(n)
    a_label <- labels_of("a", a)
    ab_label <- paste0(a_label, ":b", (ab - 1) %% 4 + 1)
    data.frame(x1, y = round(y, 4), a = a_label, ab = ab_label,
               abc = paste0(ab_label, ":c", (abc - 1) %% 3 + 1))
  })

zero_slope <- function() {
  n <- 300
  g <- levels_for(n, 20)
  x1 <- normal(n)
  y <- 2 + 0.5 * x1 + rnorm(20, 0, 1)[g] + rnorm(n)
  data.frame(x1, y = round(y, 4), g = labels_of("g", g))
}
pose("slope_zero_correlated", 112, "y ~ 1 + x1 + (1 + x1 | g)", zero_slope)
pose("slope_zero_uncorrelated", 113, "y ~ 1 + x1 + (1 | g) + (0 + x1 | g)", zero_slope)

pose("weak_variance", 114, "y ~ 1 + x1 + (1 | g)", function() {
  n <- 600
  g <- levels_for(n, 30)
  x1 <- normal(n)
  y <- 2 + 0.5 * x1 + rnorm(30, 0, 0.1)[g] + rnorm(n)
  data.frame(x1, y = round(y, 4), g = labels_of("g", g))
})

pose("poisson_exposure", 201, "y ~ 1 + x1 + x2 + offset(offset) + (1 | g)",
  function() {
    n <- 400
    g <- levels_for(n, 50)
    x1 <- normal(n)
    x2 <- binary(n)
    offset <- log(round(rgamma(n, 3, 1) + 0.2, 2))
    eta <- offset - 0.3 + 0.3 * x1 + 0.4 * x2 + rnorm(50, 0, 0.6)[g]
    data.frame(x1, x2, y = rpois(n, exp(eta)), offset, g = labels_of("g", g))
  }, family = "poisson", methods = c("laplace", "agq25"))

pose("poisson_slopes", 202, "y ~ 1 + x1 + (1 + x1 | g)", function() {
  n <- 600
  g <- levels_for(n, 40)
  x1 <- normal(n)
  u <- effects(40, c(0.7, 0.4), correlation(-0.4))
  data.frame(x1, y = rpois(n, exp(0.5 + 0.4 * x1 + u[g, 1] + u[g, 2] * x1)),
             g = labels_of("g", g))
}, family = "poisson")

pose("bernoulli_slopes", 203, "y ~ 1 + x1 + x2 + (1 + x1 | g)", function() {
  n <- 1500
  g <- levels_for(n, 50)
  x1 <- normal(n)
  x2 <- binary(n)
  u <- effects(50, c(1, 0.7), correlation(0.4))
  eta <- -0.4 + 0.6 * x1 + 0.5 * x2 + u[g, 1] + u[g, 2] * x1
  data.frame(x1, x2, y = rbinom(n, 1, plogis(eta)), g = labels_of("g", g))
}, family = "binomial")

pose("bernoulli_crossed", 204, "y ~ 1 + x1 + (1 | g) + (1 | h)", function() {
  n <- 1200
  g <- levels_for(n, 60)
  h <- levels_for(n, 40)
  x1 <- normal(n)
  eta <- 0.3 + 0.7 * x1 + rnorm(60, 0, 1)[g] + rnorm(40, 0, 0.7)[h]
  data.frame(x1, y = rbinom(n, 1, plogis(eta)), g = labels_of("g", g),
             h = labels_of("h", h))
}, family = "binomial")

pose("binomial_crossed", 205, "cbind(y, trials - y) ~ 1 + x1 + (1 | g) + (1 | h)",
  function() {
    n <- 400
    g <- levels_for(n, 30)
    h <- levels_for(n, 20)
    x1 <- normal(n)
    trials <- 1 + rpois(n, 6)
    eta <- -0.5 + 0.5 * x1 + rnorm(30, 0, 0.8)[g] + rnorm(20, 0, 0.6)[h]
    data.frame(x1, y = rbinom(n, trials, plogis(eta)), trials, g = labels_of("g", g),
               h = labels_of("h", h))
  }, family = "binomial")

pose("bernoulli_mothers", 206, "y ~ 1 + x1 + x2 + (1 | mother) + (1 | comm)",
  function() {
    n <- 2400
    mother <- levels_for(n, 1600)
    comm <- levels_for(1600, 150)[mother]
    x1 <- normal(n)
    x2 <- binary(n, 0.4)
    eta <- 0.2 + 0.5 * x1 - 0.6 * x2 + rnorm(1600, 0, 1.2)[mother] +
      rnorm(150, 0, 0.7)[comm]
    data.frame(x1, x2, y = rbinom(n, 1, plogis(eta)), mother = paste0("m", mother),
               comm = paste0("c", comm))
  }, family = "binomial")

pose("poisson_observation_level", 207, "y ~ 1 + x1 + (1 | obs) + (1 | g)", function() {
  n <- 300
  g <- levels_for(n, 25)
  x1 <- normal(n)
  eta <- 1 + 0.4 * x1 + rnorm(n, 0, 0.5) + rnorm(25, 0, 0.5)[g]
  data.frame(x1, y = rpois(n, exp(eta)), obs = paste0("o", seq_len(n)),
             g = labels_of("g", g))
}, family = "poisson")

pose("bernoulli_triples", 208, "y ~ 1 + x1 + (1 | g)", function() {
  g <- rep(1:200, each = 3)
  n <- length(g)
  x1 <- normal(n)
  eta <- 0.3 + 0.6 * x1 + rnorm(200, 0, 1.5)[g]
  data.frame(x1, y = rbinom(n, 1, plogis(eta)), g = labels_of("g", g, 3))
}, family = "binomial", methods = c("laplace", "agq25"))

write_design <- function(p) {
  draw(p$seed)
  out <- gzfile(file.path("designs", paste0(p$name, ".csv.gz")), "w", compression = 9)
  on.exit(close(out))
  write.csv(p$simulate(), out, row.names = FALSE)
}

read_design <- function(p) {
  data <- read.csv(file.path("designs", paste0(p$name, ".csv.gz")))
  # bobyqa sees a well scaled problem; rescale() puts the answer back
  if (!is.null(p$x1_unit)) data$x1 <- data$x1 / p$x1_unit
  if (!is.null(p$y_origin)) data$y <- data$y - p$y_origin
  data
}

# ---- fits --------------------------------------------------------------------

quiet <- function(expr) {
  said <- character()
  value <- withCallingHandlers(expr,
    warning = function(w) {
      said <<- c(said, conditionMessage(w))
      invokeRestart("muffleWarning")
    },
    message = function(m) invokeRestart("muffleMessage"))
  list(value = value, warnings = said)
}

newton_step <- function(gradient, hessian) {
  drop(solve(hessian, gradient))
}

fit_linear <- function(p, data, method) {
  rows <- data
  if (!is.null(data$weight)) rows <- data[rep(seq_len(nrow(data)), data$weight), ]
  fit <- function(control) {
    arguments <- list(as.formula(p$formula), data = rows, REML = method == "reml",
                      control = control)
    if (!is.null(p$start)) arguments$start <- p$start
    do.call(lmer, arguments)
  }
  first <- quiet(fit(lmerControl("bobyqa", calc.derivs = FALSE,
                                 optCtrl = list(maxfun = 1e5, rhoend = 1e-9))))
  second <- quiet(fit(lmerControl("Nelder_Mead", calc.derivs = FALSE,
    optCtrl = list(maxfun = 1e5, FtolAbs = 1e-11, FtolRel = 1e-16, XtolRel = 1e-11))))
  m <- first$value
  apart <- as.numeric(logLik(second$value)) - as.numeric(logLik(m))
  stopifnot(abs(apart) < 1e-6)
  note <- sprintf("bobyqa and Nelder_Mead: log-likelihoods %.0e apart", abs(apart))
  if (!isSingular(m)) {
    criterion <- update(m, devFunOnly = TRUE)
    step <- newton_step(numDeriv::grad(criterion, m@theta),
                        numDeriv::hessian(criterion, m@theta))
    stopifnot(abs(step) < 1e-5)
    note <- sprintf("%s; Newton step from the optimum %.0e in theta", note,
                    max(abs(step)))
  }
  list(model = m, warnings = first$warnings, note = note)
}

fit_generalised <- function(p, data, method) {
  fit <- quiet(glmer(as.formula(p$formula), data = data, family = p$family,
    nAGQ = if (method == "agq25") 25 else 1,
    control = glmerControl("bobyqa", tolPwrss = 1e-11,
                           optCtrl = list(maxfun = 1e5, rhoend = 1e-8))))
  m <- fit$value
  step <- newton_step(m@optinfo$derivs$gradient, m@optinfo$derivs$Hessian)
  stopifnot(abs(step) < 1e-4)
  note <- sprintf("Newton step from the optimum %.0e in (theta, beta)", max(abs(step)))
  if (method == "laplace") {
    tmb <- quiet(glmmTMB::glmmTMB(as.formula(p$formula), data, family = p$family))
    apart <- as.numeric(logLik(tmb$value)) - as.numeric(logLik(m))
    stopifnot(abs(apart) < 1e-3)
    se <- sqrt(diag(vcov(tmb$value)$cond)) / sqrt(diag(as.matrix(vcov(m)))) - 1
    stopifnot(abs(se) < 1e-2)
    note <- sprintf("%s; glmmTMB: log-likelihoods %.0e apart, standard errors %.0e",
                    note, abs(apart), max(abs(se)))
  } else {
    note <- paste0(note, "; loglik by adaptive integration at glmer's estimates ",
                   "(glmer reports it on another scale)")
  }
  list(model = m, warnings = fit$warnings, note = note)
}

# log marginal likelihood of one random intercept, each level integrated on its own
integrated_loglik <- function(m, data, family) {
  eta <- drop(getME(m, "X") %*% fixef(m)) + getME(m, "offset")
  group <- getME(m, "flist")[[1]]
  sd <- sqrt(VarCorr(m)[[1]][1])
  trials <- if (is.null(data$trials)) rep(1, nrow(data)) else data$trials
  density <- function(i, b) {
    if (family == "poisson") dpois(data$y[i], exp(eta[i] + b), log = TRUE)
    else dbinom(data$y[i], trials[i], plogis(eta[i] + b), log = TRUE)
  }
  sum(vapply(split(seq_len(nrow(data)), group), function(i) {
    joint <- Vectorize(function(b) sum(density(i, b)) + dnorm(b, 0, sd, log = TRUE))
    top <- optimize(joint, c(-8, 8) * sd, maximum = TRUE, tol = 1e-8)
    inside <- function(b) exp(joint(b) - top$objective)
    log(integrate(inside, top$maximum - 10 * sd, top$maximum, rel.tol = 1e-11)$value +
        integrate(inside, top$maximum, top$maximum + 10 * sd, rel.tol = 1e-11)$value) +
      top$objective
  }, 0))
}

# Modes and conditional covariances, the effects of all terms of a group side by side
# (lme4 itself gives no covariance between the effects of two terms).
conditional <- function(m) {
  Lambda <- t(getME(m, "Lambdat"))
  V <- sigma(m)^2 * as.matrix(Lambda %*% solve(getME(m, "L"), t(Lambda), system = "A"))
  given <- ranef(m, condVar = TRUE)
  cnms <- getME(m, "cnms")
  first <- getME(m, "Gp")
  out <- lapply(names(given), function(g) {
    frame <- given[[g]]
    J <- nrow(frame)
    where <- do.call(cbind, lapply(which(names(cnms) == g), function(k) {
      matrix(first[k] + seq_len(J * length(cnms[[k]])), J, byrow = TRUE)
    }))
    covariance <- array(0, c(J, ncol(where), ncol(where)))
    for (j in seq_len(J)) covariance[j, , ] <- V[where[j, ], where[j, ]]
    theirs <- attr(frame, "postVar")
    if (is.array(theirs)) {
      stopifnot(all.equal(aperm(theirs, c(3, 1, 2)), covariance, tolerance = 1e-6,
                          check.attributes = FALSE))
    }
    list(levels = I(rownames(frame)), names = names(frame),
         mode = unname(as.matrix(frame)), condvar = covariance)
  })
  setNames(out, names(given))
}

# The answer for x1 * x1_unit and y + y_origin from the answer for x1 and y. The
# restricted likelihood also changes, by the determinant of the unit of X.
rescale <- function(answer, p, reml) {
  unit <- p$x1_unit
  answer$fixef[["(Intercept)"]] <- answer$fixef[["(Intercept)"]] + p$y_origin
  answer$fixef[["x1"]] <- answer$fixef[["x1"]] / unit
  answer$se[["x1"]] <- answer$se[["x1"]] / unit
  D <- diag(c(1, 1 / unit))
  answer$varcomp$g$cov <- D %*% answer$varcomp$g$cov %*% D
  answer$ranef$g$mode <- answer$ranef$g$mode %*% D
  for (j in seq_len(dim(answer$ranef$g$condvar)[1])) {
    answer$ranef$g$condvar[j, , ] <- D %*% answer$ranef$g$condvar[j, , ] %*% D
  }
  answer$fitted_head <- answer$fitted_head + p$y_origin
  if (reml) {
    answer$loglik <- answer$loglik - log(unit)
    answer$deviance <- answer$deviance + 2 * log(unit)
    answer$aic <- answer$aic + 2 * log(unit)
    answer$bic <- answer$bic + 2 * log(unit)
  }
  answer$note <- paste0(answer$note, "; fitted with x1 / ", unit, " and y - ",
                        p$y_origin, ", the answer transformed analytically")
  answer
}

answer_of <- function(p, method) {
  data <- read_design(p)
  linear <- p$family == "gaussian"
  seconds <- system.time(
    fit <- if (linear) fit_linear(p, data, method) else fit_generalised(p, data, method)
  )[["elapsed"]]
  m <- fit$model
  cnms <- getME(m, "cnms")
  effects_of <- function(names) I(sub("(Intercept)", "1", names, fixed = TRUE))
  loglik <- if (method == "agq25") integrated_loglik(m, data, p$family)
            else as.numeric(logLik(m))
  parameters <- attr(logLik(m), "df")
  x <- setdiff(names(fixef(m)), "(Intercept)")
  small <- ncol(getME(m, "Z")) <= 400
  fitted_rows <- if (is.null(data$weight)) fitted(m) else
    predict(m, newdata = data)
  answer <- list(
    name = p$name, data = paste0("simulated, seed ", p$seed),
    columns = as.list(setNames(x, x)),
    terms = lapply(seq_along(cnms), function(k) {
      list(group = names(cnms)[k], effects = effects_of(cnms[[k]]))
    }),
    has_offset = !is.null(data$offset), has_trials = !is.null(data$trials),
    has_weight = !is.null(data$weight),
    formula = p$formula, family = p$family,
    method = c(reml = "REML", ml = "ML", laplace = "Laplace", agq25 = "AGQ25")[[method]],
    nobs = nobs(m), ngrps = as.list(ngrps(m)),
    fixef = as.list(fixef(m)), se = as.list(sqrt(diag(as.matrix(vcov(m))))),
    varcomp = lapply(VarCorr(m), function(v) {
      list(names = rownames(v), cov = matrix(as.numeric(v), nrow(v)))
    }),
    sigma = if (linear) sigma(m) else NULL,
    loglik = loglik, deviance = -2 * loglik, aic = -2 * loglik + 2 * parameters,
    bic = -2 * loglik + log(nobs(m)) * parameters,
    singular = isSingular(m), warnings = I(as.character(fit$warnings)),
    seconds = round(seconds, 3), conv = NULL,
    ranef = if (small) conditional(m) else NULL,
    fitted_head = unname(head(fitted_rows, 10)), note = fit$note)
  if (linear && small && nobs(m) < 2000 && !isSingular(m)) {
    tested <- summary(lmerTest::as_lmerModLmerTest(m))
    answer$satterthwaite_df <- as.list(tested$coefficients[, "df"])
  }
  if (!is.null(p$x1_unit)) answer <- rescale(answer, p, method == "reml")
  if (!small) answer$ranef <- NULL
  answer
}

rows_on_a_line <- function(text) {
  innermost <- gregexpr("\\[[^][{}]*\\]", text)
  regmatches(text, innermost) <- lapply(regmatches(text, innermost), function(found) {
    gsub("\\[ ", "[", gsub(" \\]", "]", gsub("\\s+", " ", found)))
  })
  text
}

write_answer <- function(p, method) {
  answer <- answer_of(p, method)
  text <- toJSON(answer, auto_unbox = TRUE, digits = I(15), null = "null", pretty = 1)
  writeLines(rows_on_a_line(text),
             file.path("fits", paste0(p$name, ".", method, ".json")))
  cat(sprintf("%-30s %-8s %7.2f s  loglik %.6f%s\n  %s\n", p$name, method,
              answer$seconds, answer$loglik, if (answer$singular) "  singular" else "",
              answer$note))
  for (w in answer$warnings) cat("  WARNING", w, "\n")
}

wanted <- commandArgs(trailingOnly = TRUE)
if (length(wanted)) {
  stopifnot(wanted %in% names(posed))
  posed <- posed[wanted]
}
dir.create("designs", showWarnings = FALSE)
dir.create("fits", showWarnings = FALSE)
for (p in posed) write_design(p)
for (p in posed) for (method in p$methods) write_answer(p, method)
