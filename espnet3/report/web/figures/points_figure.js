/* Two keys, one of them with too many values for cells: each trial is a point, to scale. */

function pointsFigure(choice, width) {
  const { x, y, metric } = choice;
  const { direction } = metricOf(choice);
  const placed = sweep.trials
    .map((trial, index) => ({ trial, index, value: measured(trial, metricIndex.get(metric)) }))
    .filter(({ trial }) => trial.positions[x] >= 0 && trial.positions[y] >= 0);
  const good = placed.filter(({ value }) => value !== null && Number.isFinite(value));
  const rest = placed.filter(({ value }) => value === null || !Number.isFinite(value));
  const ring = placed.filter(({ index }) => index === selection.index || index === sweep.best);
  const values = good.map(({ value }) => value);
  const limits = values.length ? colourLimits(values, direction) : [0, 1];
  const narrow = isNarrow(width);

  const at = (key, trial) => sweep.axes[key].numbers?.[trial.positions[key]] ?? trial.positions[key];
  const points = (of, marker) => ({
    type: "scatter", mode: "markers", hoverinfo: "text", marker, customdata: of.map(({ index }) => index),
    x: of.map(({ trial }) => at(x, trial)), y: of.map(({ trial }) => at(y, trial)),
    text: of.map(({ trial, value }) => `<b>${value === null ? trial.state : `${plain(metric)} = ${numberText(value)}`}</b><br>${plain(valuesText(trial))}`),
  });
  const muted = theme.colour("muted");
  const failed = ({ trial }) => FAILED.includes(trial.state) || trial.state === "done";
  const traces = [
    points(rest, { symbol: rest.map((entry) => (failed(entry) ? "x-thin-open" : "circle-open")), size: 7, color: muted, line: { width: 1.5, color: muted } }),
    points(good, {
      color: values, cmin: limits[0], cmax: limits[1], colorscale: scaleColours(direction), showscale: values.length > 0,
      colorbar: colourBar(metricOf(choice), narrow), size: 9, line: { width: 0.5, color: theme.colour("line") },
    }),
    points(ring, ringMarker(ring)),
  ];
  const axisFor = (key) => (sweep.axes[key].numbers ? numberAxis(sweep.axes[key]) : categoryAxis(sweep.axes[key]));
  if (!placed.length) return null;
  return {
    traces,
    layout: layoutOf({ height: 460, xaxis: axisFor(x), yaxis: axisFor(y) }),
    description: ["Each point is a trial, to scale: there are too many values for cells. ★ best, × failed or diverged, ○ not done.", limitsText(values, limits, direction)],
    trialOf: (point) => point.customdata,
    table: null,
  };
}

/** Around the best and the selected trial. */
function ringMarker(of) {
  const colour = theme.colour("highlight");
  return { symbol: of.map(({ index }) => (index === sweep.best ? "star-open" : "circle-open")), size: 18, color: colour, line: { width: 2.5, color: colour } };
}
