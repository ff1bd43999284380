/* Trials by the values of swept keys; the same rules as cells.py, which draws the picture. */

const WHY = ["diverged", "failed", "running", "stopped", "queued", "cancelled", "older", "missing"];

function whyNot(trial, metric) {
  if (trial.older) return "older";
  if (trial.state === "done") return measured(trial, metric) === null ? "missing" : "diverged";
  return trial.state === "killed" ? "failed" : trial.state;
}

/** One place's trials as one value: that of the best one by the objective, or their mean. */
function cellOf(indices, metric, over) {
  const failed = indices.filter((index) => whyNot(sweep.trials[index], metric) === "failed").length;
  const finite = indices
    .map((index) => [index, measured(sweep.trials[index], metric)])
    .filter(([, value]) => value !== null && Number.isFinite(value))
    .sort((one, other) => badness(sweep.trials[one[0]]) - badness(sweep.trials[other[0]]) || one[0] - other[0]);
  if (!finite.length) {
    const reasons = new Set(indices.map((index) => whyNot(sweep.trials[index], metric)));
    return { value: null, why: WHY.find((reason) => reasons.has(reason)) ?? "missing", trials: indices, failed };
  }
  const value = over === "best" ? finite[0][1] : finite.reduce((sum, [, one]) => sum + one, 0) / finite.length;
  const first = finite.map(([index]) => index);
  return { value, why: "", trials: [...first, ...indices.filter((index) => !first.includes(index))], failed };
}

/** A row for each value of `y` (one row where it is null), a column for each of `x`. */
function gridOf(x, y, metric, over) {
  const rows = y === null ? 1 : sweep.axes[y].texts.length;
  const members = Array.from({ length: rows }, () => sweep.axes[x].texts.map(() => []));
  sweep.trials.forEach((trial, index) => {
    const row = y === null ? 0 : trial.places[y];
    if (row >= 0 && trial.places[x] >= 0) members[row][trial.places[x]].push(index);
  });
  return members.map((row) => row.map((indices) => cellOf(indices, metric, over)));
}

/** The lowest and highest value with a colour of its own: diverged trials must not make the others alike. */
function colourLimits(values, direction) {
  let [low, high] = [Math.min(...values), Math.max(...values)];
  const ranked = [...values].sort((one, other) => (direction === "maximize" ? other - one : one - other));
  const reach = 5 * Math.abs(ranked[Math.floor(ranked.length / 2)] - ranked[0]);
  if (direction === "minimize" && reach) high = Math.min(high, low + reach);
  if (direction === "maximize" && reach) low = Math.max(low, high - reach);
  return [low, high];
}
