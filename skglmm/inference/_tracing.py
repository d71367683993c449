"""A profile: the deviance with one coordinate held and the others at their best."""

from dataclasses import dataclass

import numpy as np

# Step of differences, as a share of what is a change of a coordinate, and the longest
# step of a search, in such changes.
_STEP, _LONGEST = 1e-3, 3.0
# What a search may leave of -2 log-likelihood, its most steps, and a decrease that
# shows that the fit was not the optimum.
_LEFT, _MOST, _BETTER = 1e-6, 60, 1e-3
# What a search may have promised for its metric to be of use in the next one.
_SETTLED = 1e-2
# Least curvature, as a share of the largest one.
_FLAT = 1e-6
# How near the signed root must come before one more step is taken for the end; steps
# until then, and how far an end may be, in first steps, before it is infinite.
_NEAR, _STEPS, _FARTHEST = 2e-3, 40, 1e4
# Share of what is missing of the root that it still rises by, if it went on as far
# again, where it has levelled off.
_LEVEL = 1e-3
# Share of a root that is reached that counts as reached, where all that is wanted is
# a point.
_ALMOST = 0.9


class LowerDeviance(Exception):
    """A profile has met a lower deviance than that of the fit.

    Parameters
    ----------
    point : Optimum
        Where.
    before : float
        The deviance of the fit.
    """

    def __init__(self, point, before):
        super().__init__("a lower deviance than that of the fit")
        self.point, self.before = point, before


@dataclass(frozen=True)
class Point:
    """A point of a profile on one side of its minimum.

    Parameters
    ----------
    away : float
        Distance of the coordinate from the minimum.
    zeta, slope : float
        Root of the increase of the deviance, and its derivative in `away`.
    u : ndarray of shape (n,)
        All coordinates.
    left : float, default=0.0
        What the search had promised when it ended.
    """

    away: float
    zeta: float
    slope: float
    u: np.ndarray
    left: float = 0.0

    def level(self, cut):
        """Whether the root has levelled off before it is `cut`."""
        return self.away > 0.0 and self.slope * self.away < _LEVEL * (cut - self.zeta)


class Trace:
    """The profile of the coordinate of a chart.

    Parameters
    ----------
    chart : Chart
    optimum : Optimum
        Where the deviance is least, nearly.

    Attributes
    ----------
    chart : Chart
    best : ndarray of shape (n,)
        Coordinates of the minimum.
    value : float
        The deviance there.
    left : float
        The most that a search for the minimum or an end has promised when it ended.
    """

    def __init__(self, chart, optimum):
        self.chart = chart
        u = chart.start(optimum)
        self._first = positive(*hessian(chart, u))
        u, value, _ = self._settle(u, self._first.copy(), np.ones(len(u), dtype=bool))
        self.best, self.value, self.left = u, value, self._promised

    @property
    def _free(self):
        free = np.ones(len(self.best), dtype=bool)
        free[self.chart.at] = False
        return free

    def _settle(self, u, metric, free):
        """Minimise over the coordinates that are free; `metric` learns as it goes."""
        chart = self.chart
        value, slope = chart.evaluate(u)
        promised = 0.0
        for _ in range(_MOST if np.isfinite(value) else 0):
            moves = free & ~((u <= chart.least) & (slope > 0.0))
            step = np.zeros(len(u))
            step[moves] = -solved(metric[np.ix_(moves, moves)], slope[moves])
            promised = -slope @ step
            if promised < 0.0:
                metric[:] = positive(metric, chart.sizes(u))
                continue
            if not promised > _LEFT:
                break
            sizes = chart.sizes(u)
            step /= max(1.0, np.max(np.abs(step) / sizes) / _LONGEST)
            for _ in range(20):
                after = np.maximum(u + step, chart.least)
                found, there = chart.evaluate(after)
                if found <= value + 1e-4 * (slope @ (after - u)):
                    break
                step *= 0.3
            else:
                break
            learn(metric, after - u, there - slope)
            u, value, slope = after, found, there
        self._promised = float(promised)
        return u, value, slope

    def side(self, sign):
        """One side of the profile.

        Parameters
        ----------
        sign : {-1.0, 1.0}

        Returns
        -------
        side : Side
        """
        return Side(self, sign)

    def held(self, u, near, metric):
        """A point with the coordinate as in u, from one that is near."""
        chart, free = self.chart, self._free
        at = chart.at
        moved = u[at] - near[at]
        start = near.copy()
        inner = metric[np.ix_(free, free)]
        step = -solved(inner, metric[free, at]) * moved
        sizes = chart.sizes(near)[free]
        step /= max(1.0, np.max(np.abs(step) / sizes, initial=0.0) / _LONGEST)
        start[free] += step
        start[at] = u[at]
        start = np.maximum(chart.raised(start), chart.least)
        found, value, slope = self._settle(start, metric, free)
        if value < self.value - _BETTER:
            raise LowerDeviance(chart.point(found), self.value)
        return found, max(value - self.value, 0.0), slope[at], self._promised


class Side:
    """One side of a profile, whose points are found as they are asked for.

    Parameters
    ----------
    trace : Trace
    sign : {-1.0, 1.0}

    Attributes
    ----------
    points : list of Point
        In the order in which they were found; the first is the minimum.
    """

    def __init__(self, trace, sign):
        self._trace, self._chart, self._sign = trace, trace.chart, sign
        chart = trace.chart
        self._metric = trace._first.copy()
        at, best = chart.at, trace.best
        curved = 1.0 / solved(self._metric, np.eye(len(best))[at])[at]
        self._centre = best[at]
        limit = chart.high if sign > 0.0 else chart.low
        self._limit, self._first = abs(limit - best[at]), 0.0
        self.points = [Point(0.0, 0.0, float(np.sqrt(0.5 * curved)), best)]

    def last(self):
        """The root at the boundary, which there must be."""
        return self._point(self._limit).zeta if self._limit > 0.0 else 0.0

    def reach(self, cut):
        """Find a point where the root is nearly `cut`; False if there is none."""
        low = max(self.points, key=lambda point: point.zeta)
        for _ in range(_STEPS):
            if low.zeta > _ALMOST * cut:
                return True
            if low.level(cut) and not np.isfinite(self._limit):
                return False
            away = min(self._ahead(low, cut), self._limit)
            if away == low.away or away > _FARTHEST * (self._first or away):
                return False
            self._first = self._first or away
            low = self._point(away)
        return False

    def _point(self, away):
        near = min(self.points, key=lambda point: abs(point.away - away))
        u = near.u.copy()
        u[self._chart.at] = self._centre + self._sign * away
        metric = self._metric.copy()
        u, more, slope, left = self._trace.held(u, near.u, metric)
        if left < _SETTLED and np.isfinite(more):
            self._metric = metric
        zeta = float(np.sqrt(more))
        slope = self._sign * slope / (2.0 * zeta) if zeta > 0.0 else 0.0
        self.points.append(Point(away, zeta, float(slope), u, left))
        return self.points[-1]

    def end(self, cut):
        """The coordinate at which the root of the increase is `cut`.

        Returns
        -------
        end : float
            The boundary if the root is less even there; infinite where it is less
            everywhere.
        """
        low, high = self.points[0], None
        for _ in range(_STEPS):
            if high:
                away = between(low, high, cut)
            elif low.level(cut):
                away = self._limit
            else:
                away = self._ahead(low, cut)
            self._first = self._first or away
            if not high and away > _FARTHEST * self._first:
                away = self._limit
            if not np.isfinite(away):
                return self._sign * np.inf
            if away >= self._limit:
                away = self._limit
                if low.away == away:
                    break
            point = self._point(away)
            if abs(point.zeta - cut) < _NEAR and point.slope > 0.0:
                self._trace.left = max(self._trace.left, point.left)
                away = point.away + (cut - point.zeta) / point.slope
                return self._centre + self._sign * min(away, self._limit)
            if point.zeta < cut:
                low = point
            else:
                high = point
            if high and high.away - low.away < 1e-7 * high.away:
                break
        if low.away < self._limit:
            self._trace.left = np.inf
        return self._centre + self._sign * low.away

    def _ahead(self, low, cut):
        """Where to look beyond the farthest point."""
        if not low.slope > 0.0 or not np.isfinite(low.slope):
            return (
                2.0 * low.away if low.away else self._chart.sizes(low.u)[self._chart.at]
            )
        step = min((cut - low.zeta) / low.slope, self._chart.reach(low.u))
        here = self._centre + low.away
        if self._sign > 0.0 and self._chart.low == 0.0 and here > 0.0:
            step = here * np.expm1(min(step / here, np.log(3.0)))
        elif low.away:
            step = min(step, 2.0 * low.away)
        return low.away + step


def between(low, high, cut):
    """Where the root is `cut`, by the inverse cubic through two points."""
    width, rise = high.away - low.away, high.zeta - low.zeta
    share = (cut - low.zeta) / rise if np.isfinite(rise) else 0.5
    guess = low.away + share * width
    if np.isfinite(rise) and low.slope > 0.0 and high.slope > 0.0:
        a, b = rise / low.slope, rise / high.slope
        cubic = low.away + share * (
            a * (1.0 - share) ** 2
            + width * share * (3.0 - 2.0 * share)
            - b * share * (1.0 - share)
        )
        if low.away < cubic < high.away:
            guess = cubic
    return min(max(guess, low.away + 0.02 * width), high.away - 0.02 * width)


def hessian(chart, u, reml=False, central=False):
    """Second derivatives by differences of the gradient, and sizes of coordinates."""
    sizes, rows = chart.sizes(u), []
    here = None if central else chart.evaluate(u, reml)[1]
    for step, axis in zip(_STEP * sizes, np.eye(len(u)), strict=True):
        ahead = chart.evaluate(u + step * axis, reml)[1]
        if central:
            behind = chart.evaluate(u - step * axis, reml)[1]
            rows.append((ahead - behind) / (2.0 * step))
        else:
            rows.append((ahead - here) / step)
    found = np.array(rows)
    return 0.5 * (found + found.T), sizes


def positive(found, sizes):
    """A positive definite matrix that has the same curvatures, or their opposites."""
    scaled = found * np.outer(sizes, sizes)
    scaled = np.where(np.isfinite(scaled), scaled, np.eye(len(sizes)))
    values, axes = np.linalg.eigh(scaled)
    largest = np.max(np.abs(values), initial=0.0) or 1.0
    values = np.maximum(np.abs(values), _FLAT * largest)
    return (axes * values) @ axes.T / np.outer(sizes, sizes)


def solved(matrix, column):
    """The solution of equations that rounding may have left singular."""
    try:
        return np.linalg.solve(matrix, column)
    except np.linalg.LinAlgError:
        return np.linalg.lstsq(matrix, column, rcond=1e-12)[0]


def learn(metric, step, change):
    """Powell's damped BFGS update, in place."""
    along = metric @ step
    expected, seen = step @ along, step @ change
    if not expected > 0.0:
        return
    if seen < 0.2 * expected:
        share = 0.8 * expected / (expected - seen)
        change = share * change + (1.0 - share) * along
        seen = step @ change
    metric += np.outer(change, change) / seen - np.outer(along, along) / expected
