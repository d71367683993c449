"""What a fit says while it runs, and how long its phases take."""

import sys
import time

import numpy as np

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:  # scikit-learn before 1.9

    class CallbackSupportMixin:
        """Nothing, where scikit-learn has no callbacks."""

    def with_callbacks(fit):
        """The method as it is, where scikit-learn has no callbacks."""
        return fit


# Seconds after which a bar appears.
_LONG = 1.0
# Rows, or for a linear model levels and seconds an evaluation, above which a fit can
# be interrupted between evaluations, and is worth it.
_MANY, _SLOW = 100_000, 0.1


class Progress:
    """Phases and steps of one fit.

    Parameters
    ----------
    estimator : BaseMixedModel
    """

    def __init__(self, estimator):
        self._estimator, self._name = estimator, type(estimator).__name__
        self._verbose = int(estimator.verbose)
        self._bar, self._phase, self._steps, self._value = None, None, 0, np.nan
        self.times, self._context = {}, None
        if getattr(estimator, "_skl_callbacks", None):
            self._context = estimator._init_callback_context(max_subtasks=None)

    def needed(self, n_read, seconds=0.0):
        """Whether anybody wants to know of every step.

        A step reads so many rows or levels and takes so many seconds beside that.
        """
        watched = self._verbose or self._context is not None
        return bool(watched or n_read > _MANY or seconds > _SLOW)

    def begin(self, X, y):
        """The fit has begun."""
        if self._context is not None:
            self._context.call_on_fit_task_begin(estimator=self._estimator, X=X, y=y)

    def end(self):
        """The fit has ended."""
        self.phase(None)
        if self._context is not None:
            self._context.call_on_fit_task_end(estimator=self._estimator)

    def phase(self, name):
        """A new phase begins, and the one before ends."""
        now = time.perf_counter()
        if self._phase is not None:
            seconds = now - self._start
            self.times[self._phase] = self.times.get(self._phase, 0.0) + seconds
            self._close(seconds)
        self._phase, self._start, self._steps = name, now, 0
        if name is not None and self._verbose and _bars():
            from tqdm.auto import tqdm

            self._bar = tqdm(
                desc=f"{self._name}: {name}", unit=" steps", delay=_LONG, leave=False
            )

    def step(self, value=np.nan):
        """One evaluation is done; `value` is the least objective so far."""
        self._steps, self._value = self._steps + 1, value
        if self._bar is not None:
            if np.isfinite(value):
                self._bar.set_postfix_str(f"objective {value:.2f}", False)
            self._bar.update()
        if self._context is not None:
            context = self._context.subcontext(task_name=self._phase)
            context.call_on_fit_task_begin(estimator=self._estimator)
            context.call_on_fit_task_end(estimator=self._estimator)

    def _close(self, seconds):
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        elif self._verbose:
            text = f"[{self._name}] {self._phase}: {seconds:.2f} s"
            if self._steps:
                text += f", {self._steps} evaluations"
                if np.isfinite(self._value):
                    text += f", objective {self._value:.2f}"
            print(text, flush=True)


def _bars():
    """Whether there is somebody before a terminal or notebook, and tqdm for it."""
    try:
        import tqdm  # noqa: F401
    except ImportError:
        return False
    return sys.stderr.isatty() or "ipykernel" in sys.modules


class Tally:
    """How many of a known number of things are done: a bar, if that takes long.

    Parameters
    ----------
    text : str
        What is done.
    total : int
    verbose : int or bool
    """

    def __init__(self, text, total, verbose):
        self._text, self._total, self._verbose = text, total, int(verbose)
        self._bar = None

    def __enter__(self):
        self._start = time.perf_counter()
        if self._verbose and _bars():
            from tqdm.auto import tqdm

            self._bar = tqdm(
                desc=self._text, total=self._total, delay=_LONG, leave=False
            )
        return self

    def __call__(self, n):
        """So many more are done."""
        if self._bar is not None:
            self._bar.update(n)

    def __exit__(self, *error):
        if self._bar is not None:
            self._bar.close()
        elif self._verbose and error[0] is None:
            seconds = time.perf_counter() - self._start
            print(f"{self._text}: {self._total} in {seconds:.2f} s", flush=True)
