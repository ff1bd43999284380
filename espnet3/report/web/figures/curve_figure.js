/* One key: each trial as a point, a line through the best or the mean, failures at the bottom. */

function curveFigure(choice) {
  const { x, metric, over } = choice;
  const axis = sweep.axes[x];
  const cells = gridOf(x, null, metricIndex.get(metric), over)[0];
  const trials = cells.flatMap((cell, position) => cell.trials.map((index) =>
    ({ position, index, value: measured(sweep.trials[index], metricIndex.get(metric)), state: sweep.trials[index].state })));
  const isGood = ({ value }) => value !== null && Number.isFinite(value);
  const good = trials.filter(isGood);
  const rest = trials.filter((trial) => !isGood(trial) && (FAILED.includes(trial.state) || trial.value !== null));
  const ring = good.filter(({ index }) => index === selection.index || index === sweep.best);

  const at = (position) => axis.numbers?.[position] ?? position;
  const hover = (trial) => [
    `<b>${isGood(trial) ? `${plain(metric)} = ${numberText(trial.value)}` : trial.value === null ? trial.state : "not a finite number"}</b>`,
    `${plain(axis.label)} = ${plain(shortened(axis.texts[trial.position], 60))}`,
    plain(shortened(sweep.trials[trial.index].name, 70)),
  ].join("<br>");
  const points = (of, marker, more = {}) => ({
    type: "scatter", mode: "markers", hoverinfo: "text", marker, x: of.map(({ position }) => at(position)), y: of.map(({ value }) => value),
    text: of.map(hover), customdata: of.map(({ index }) => index), ...more,
  });
  const accent = theme.colour("accent");
  const traces = [
    { type: "scatter", mode: "lines", hoverinfo: "skip", x: cells.map((_, position) => at(position)), y: cells.map((cell) => cell.value), connectgaps: false, line: { color: accent, width: 2 } },
    points(good, { color: accent, size: 8 }),
    points(rest, { symbol: "x", size: 10, color: theme.colour("bad") }, { y: rest.map(() => 0.03), yaxis: "y2" }),
    points(ring, ringMarker(ring)),
  ];
  const values = good.map(({ value }) => value);
  const { direction } = metricOf(choice);
  if (!good.length && !rest.length) return null;
  return {
    traces,
    layout: layoutOf({
      height: 420,
      xaxis: axis.numbers ? numberAxis(axis) : categoryAxis(axis),
      yaxis: axisOf(metric + meaningOf(direction), {
        type: spansFactors(values) ? "log" : "linear",
        ...(values.length ? {} : { range: [0, 1] }), // no values for an automatic range
      }),
      yaxis2: { overlaying: "y", range: [0, 1], visible: false, fixedrange: true },
    }),
    description: [overText(choice), "★ the best trial.", rest.length ? `× at the bottom: ${counted(rest.length, "trial")} that failed or diverged.` : ""],
    trialOf: (point) => point.customdata,
    table: cellTable([cells], axis.texts, [metric], axis.label),
  };
}
