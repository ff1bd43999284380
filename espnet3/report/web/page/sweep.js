/* The sweep: the embedded data, and the selected trial. */

const sweep = JSON.parse(find("#data").textContent);

const STATES = {
  done: "✓", running: "▶", queued: "…", stopped: "‖", failed: "✗", diverged: "↯", killed: "✗", cancelled: "⊘", missing: "?", unreadable: "?",
};
const FAILED = ["failed", "diverged", "killed"];

const metricIndex = new Map(sweep.metrics.map((metric, index) => [metric.name, index]));

/** Whether stage 3 alone gives a metric: training did not log it. */
const isScored = (metric) => !(metric.name in sweep.curves.metrics);
/** Indices of the metrics: the objective, those of stage 3, then what training logged. */
const metricsByInterest = sweep.metrics.map((_, index) => index)
  .sort((a, b) => (b === 0) - (a === 0) || isScored(sweep.metrics[b]) - isScored(sweep.metrics[a]) || a - b);
const objectiveOf = (trial) => number(trial.metrics[0]);
const better = sweep.direction === "maximize" ? "higher is better" : "lower is better";

/** A done trial's value of a metric; null if it is not to be compared. */
const measured = (trial, metric) => (trial.state === "done" && !trial.older ? number(trial.metrics[metric]) : null);

/** Sort key: the best trial first. */
function sortValue(trial) {
  const value = objectiveOf(trial);
  if (value === null || !Number.isFinite(value)) return Infinity;
  return sweep.direction === "maximize" ? -value : value;
}

/** Rank of each done trial by the objective, from 1; null for the other trials. */
const ranks = (() => {
  const found = sweep.trials.map(() => null);
  sweep.trials
    .map((trial, index) => [sortValue(trial), index])
    .filter(([bad, index]) => bad !== Infinity && measured(sweep.trials[index], 0) !== null)
    .sort((a, b) => a[0] - b[0])
    .forEach(([, index], rank) => { found[index] = rank + 1; });
  return found;
})();

const valueOf = (trial, axis) => {
  const position = trial.positions[axis];
  return position < 0 ? "–" : sweep.axes[axis].texts[position];
};
const valuesText = (trial) => sweep.axes.map((axis, index) => `${axis.label}=${valueOf(trial, index)}`).join(", ");

/** The selected trial; table, heat map, curves and card show it. */
const selection = {
  index: null,
  listeners: [],
  choose(index) {
    this.index = index === this.index ? null : index;
    for (const listener of this.listeners) listener(this.index);
  },
};
