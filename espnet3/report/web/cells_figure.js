/* The heat map: two keys with few values each. Cells without a value are grey, with a sign for the reason. */

const SIGNS = { diverged: "↯", failed: "✗", missing: "–", older: "≠" };

function cellsFigure(choice, width) {
  const { x, y, metric, over } = choice;
  const [across, up] = [sweep.axes[x], sweep.axes[y]];
  const { direction } = metricOf(choice);
  const cells = gridOf(x, y, metricIndex.get(metric), over);
  const values = cells.flat().map((cell) => cell.value).filter((value) => value !== null);
  const limits = values.length ? colourLimits(values, direction) : [0, 1];
  const narrow = isNarrow(width);
  const room = (width - (narrow ? 90 : 190)) / across.texts.length;

  const hover = cells.map((row, r) => row.map((cell, c) => cellHover(cell, choice,
    `${plain(across.label)} = ${plain(shortened(across.texts[c], 60))}<br>${plain(up.label)} = ${plain(shortened(up.texts[r], 60))}`)));
  const heat = {
    type: "heatmap", z: cells.map((row) => row.map((cell) => cell.value)), zmin: limits[0], zmax: limits[1],
    xgap: 2, ygap: 2, hoverinfo: "text", text: hover, colorscale: scaleColours(direction),
    showscale: values.length > 0, colorbar: colourBar(metricOf(choice), narrow),
  };
  const greys = { failed: 1, diverged: 1, missing: 0 };
  const emptyCells = {
    type: "heatmap", z: cells.map((row) => row.map((cell) => (cell.value === null ? greys[cell.reason] ?? 0.5 : null))),
    zmin: 0, zmax: 1, xgap: 2, ygap: 2, hoverinfo: "text", text: hover, showscale: false,
    colorscale: [[0, theme.colour("missing")], [0.5, theme.colour("waiting")], [1, theme.colour("failed-cell")]],
  };
  const best = sweep.best === null ? null : sweep.trials[sweep.best];
  const labels = { type: "scatter", mode: "text", hoverinfo: "skip", x: [], y: [], text: [], textfont: { size: Math.min(14, Math.max(10, room / 4.2)), color: [] } };
  cells.forEach((row, r) => row.forEach((cell, c) => {
    labels.x.push(c);
    labels.y.push(r);
    labels.text.push(cellText(cell, room, Boolean(best) && best.positions[x] === c && best.positions[y] === r));
    labels.textfont.color.push(cell.value === null ? theme.colour("text") : textColourOn(colourAt(cell.value, limits, direction)));
  }));

  const height = Math.min(Math.max(up.texts.length * 58, narrow ? 180 : 270), 640) + (narrow ? 150 : 80);
  const legend = [...new Set(cells.flat().map((cell) => cell.reason).filter(Boolean))].map((reason) => `${SIGNS[reason] ?? STATES[reason]} ${reason}`);
  return {
    traces: [emptyCells, heat, labels],
    layout: layoutOf({ height, shapes: selectedCell(x, y), xaxis: categoryAxis(across), yaxis: categoryAxis(up) }),
    description: [overText(choice), legend.length ? `Grey: ${legend.join(", ")}.` : "", limitsText(values, limits, direction)],
    trialOf: (point) => cells[point.y]?.[point.x]?.trials[0],
    table: cellTable(cells, across.texts, up.texts, `${up.label} \\ ${across.label}`),
  };
}

/** The text of a cell that is `room` pixels wide. */
function cellText(cell, room, isBest) {
  const long = room > 52;
  if (cell.value === null) {
    const sign = SIGNS[cell.reason] ?? STATES[cell.reason];
    if (room < 12) return "";
    return long && cell.reason !== "missing" ? `${sign} ${cell.reason}` : sign;
  }
  const value = room > 38 ? numberText(cell.value, 3) : "";
  const failed = cell.failed && long ? `<br><span style="font-size:0.8em">✗ ${cell.failed} failed</span>` : "";
  return (isBest ? `★ ${long ? value : ""}` : value) + failed;
}

function cellHover(cell, { metric, over }, position) {
  const first = cell.value === null ? cell.reason : `${plain(metric)} = ${numberText(cell.value)}`;
  const lines = [`<b>${first}</b>`, position];
  const last = cell.reason === "diverged" ? number(sweep.trials[cell.trials[0]].last_finite) : null;
  if (last !== null) lines.push(`last finite ${plain(sweep.objective)} = ${numberText(last)}`);
  if (cell.trials.length > 1) lines.push(`${counted(cell.trials.length, "trial")}, ${cell.failed} failed`);
  if (cell.trials.length && (over === "best" || cell.trials.length === 1)) lines.push(plain(shortened(sweep.trials[cell.trials[0]].name, 70)));
  return lines.join("<br>");
}

/** A frame around the cell of the selected trial. */
function selectedCell(x, y) {
  const chosen = selection.index === null ? null : sweep.trials[selection.index];
  if (!chosen || chosen.positions[x] < 0 || chosen.positions[y] < 0) return [];
  const [column, row] = [chosen.positions[x], chosen.positions[y]];
  return [{ type: "rect", x0: column - 0.5, x1: column + 0.5, y0: row - 0.5, y1: row + 0.5, line: { color: theme.colour("highlight"), width: 4 } }];
}
