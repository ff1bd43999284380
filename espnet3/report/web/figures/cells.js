/* Trials by the values of swept keys; the same rules as cells.py has for the picture. */

const REASONS = ["diverged", "failed", "running", "stopped", "queued", "cancelled", "older", "missing"];

function reasonOf(trial, metric) {
  if (trial.older) return "older";
  if (trial.state === "done") return measured(trial, metric) === null ? "missing" : "diverged";
  return trial.state === "killed" ? "failed" : trial.state;
}

/** Combine trials into one cell: the value of the best one by the objective, or their mean. */
function cellOf(indices, metric, over) {
  const failed = indices.filter((index) => reasonOf(sweep.trials[index], metric) === "failed").length;
  const finite = indices
    .map((index) => [index, measured(sweep.trials[index], metric)])
    .filter(([, value]) => value !== null && Number.isFinite(value))
    .sort((a, b) => sortValue(sweep.trials[a[0]]) - sortValue(sweep.trials[b[0]]) || a[0] - b[0]);
  if (!finite.length) {
    const reasons = new Set(indices.map((index) => reasonOf(sweep.trials[index], metric)));
    return { value: null, reason: REASONS.find((reason) => reasons.has(reason)) ?? "missing", trials: indices, failed };
  }
  const value = over === "best" ? finite[0][1] : finite.reduce((sum, [, number]) => sum + number, 0) / finite.length;
  const first = finite.map(([index]) => index);
  return { value, reason: "", trials: [...first, ...indices.filter((index) => !first.includes(index))], failed };
}

/** A row for each value of `y` (one row where it is null), a column for each of `x`. */
function gridOf(x, y, metric, over) {
  const rows = y === null ? 1 : sweep.axes[y].texts.length;
  const members = Array.from({ length: rows }, () => sweep.axes[x].texts.map(() => []));
  sweep.trials.forEach((trial, index) => {
    const row = y === null ? 0 : trial.positions[y];
    if (row >= 0 && trial.positions[x] >= 0) members[row][trial.positions[x]].push(index);
  });
  return members.map((row) => row.map((indices) => cellOf(indices, metric, over)));
}

/** The limits of the colour scale: a few diverged trials must not make all others look alike. */
function colourLimits(values, direction) {
  let [low, high] = [Math.min(...values), Math.max(...values)];
  const ranked = [...values].sort((a, b) => (direction === "maximize" ? b - a : a - b));
  const reach = 5 * Math.abs(ranked[Math.floor(ranked.length / 2)] - ranked[0]);
  if (direction === "minimize" && reach) high = Math.min(high, low + reach);
  if (direction === "maximize" && reach) low = Math.max(low, high - reach);
  return [low, high];
}
