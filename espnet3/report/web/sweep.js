/* The sweep: what the page embeds, and what is chosen in it. */

const sweep = JSON.parse(find("#data").textContent);

const STATES = {
  done: "✓", running: "▶", queued: "…", stopped: "‖", failed: "✗", killed: "✗", cancelled: "⊘", missing: "?",
};
const FAILED = ["failed", "killed"];

const metricIndex = new Map(sweep.metrics.map((metric, index) => [metric.name, index]));
const objectiveOf = (trial) => number(trial.metrics[0]);
const better = sweep.direction === "maximize" ? "higher is better" : "lower is better";

/** A done trial's value of a metric; null where there is none to compare. */
const measured = (trial, metric) => (trial.state === "done" && !trial.older ? number(trial.metrics[metric]) : null);

/** Sorts the best trial first. */
function badness(trial) {
  const value = objectiveOf(trial);
  if (value === null || !Number.isFinite(value)) return Infinity;
  return sweep.direction === "maximize" ? -value : value;
}

/** Rank of each done trial by the objective, from 1; null for the others. */
const ranks = (() => {
  const found = sweep.trials.map(() => null);
  sweep.trials
    .map((trial, index) => [badness(trial), index])
    .filter(([bad, index]) => bad !== Infinity && measured(sweep.trials[index], 0) !== null)
    .sort((one, other) => one[0] - other[0])
    .forEach(([, index], rank) => { found[index] = rank + 1; });
  return found;
})();

const valueOf = (trial, axis) => {
  const place = trial.places[axis];
  return place < 0 ? "–" : sweep.axes[axis].texts[place];
};
const valuesText = (trial) => sweep.axes.map((axis, index) => `${axis.label}=${valueOf(trial, index)}`).join(", ");

/** Which trial is looked at: table, heat map, curves and card follow. */
const selection = {
  index: null,
  listeners: [],
  choose(index) {
    this.index = index === this.index ? null : index;
    for (const listener of this.listeners) listener(this.index);
  },
};
