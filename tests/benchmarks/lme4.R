# Measures lme4 as worker.py measures the Python packages; base R and lme4 only.
# Rscript lme4.R FORMULA FAMILY FOLDER ANSWER MIN_FITS MAX_FITS SECONDS LONG

arguments <- commandArgs(trailingOnly = TRUE)
formula <- as.formula(arguments[1])
family <- arguments[2]
folder <- arguments[3]
answer <- arguments[4]
limits <- as.numeric(arguments[5:8])

text <- function(x) {
  x <- gsub("\n", " ", gsub("\\", "\\\\", x, fixed = TRUE), fixed = TRUE)
  paste0("\"", gsub("\"", "\\\"", x, fixed = TRUE), "\"")
}
number <- function(x) paste(sprintf("%.17g", x), collapse = ", ")
object <- function(...) {
  fields <- list(...)
  values <- paste0(vapply(names(fields), text, ""), ": ", unlist(fields))
  paste0("{", paste(values, collapse = ", "), "}")
}
seconds <- function(expression) {
  start <- Sys.time()
  force(expression)
  as.numeric(Sys.time() - start, units = "secs")
}

if (!requireNamespace("lme4", quietly = TRUE)) {
  writeLines(object(missing = text("R has no package lme4")), answer)
  quit(status = 0)
}

read_column <- function(name) {
  path <- file.path(folder, name)
  count <- function(suffix, size) file.size(paste0(path, suffix)) / size
  if (file.exists(paste0(path, ".float64"))) {
    return(readBin(paste0(path, ".float64"), "double", count(".float64", 8)))
  }
  codes <- readBin(paste0(path, ".codes"), "integer", count(".codes", 4), size = 4)
  levels <- readLines(paste0(path, ".levels"), encoding = "UTF-8")
  structure(codes + 1L, levels = levels, class = "factor")
}
data <- as.data.frame(sapply(all.vars(formula), read_column, simplify = FALSE))

fit <- function() {
  if (family == "gaussian") lmer(formula, data) else glmer(formula, data, family)
}

import <- seconds(library(lme4))
first <- seconds(model <- fit())
if (first > limits[4]) limits[1] <- 1
warm <- numeric()
while (length(warm) < limits[1] ||
       (length(warm) < limits[2] && sum(warm) < limits[3])) {
  rm(model)
  warm <- c(warm, seconds(model <- fit()))
}

components <- as.data.frame(VarCorr(model))
components <- components[is.na(components$var2), ]
effects <- ifelse(is.na(components$var1), "", paste0(" ", components$var1))
groups <- ifelse(components$grp == "Residual", "residual", components$grp)
deviations <- setNames(as.list(vapply(components$sdcor, number, "")),
                       paste0(groups, effects))
writeLines(object(
  version = text(packageDescription("lme4")$Version),
  imports = object(lme4 = number(import)),
  first = number(first),
  warm = paste0("[", number(warm), "]"),
  deviations = do.call(object, deviations),
  log_likelihood = number(as.numeric(logLik(model)))
), answer)
