/* The section that shows a metric over one or two swept keys: its form, and its kind of figure. */

const overKeys = {
  section: find("#map"),
  plot: find("#map .plot"),
  choice: { metric: sweep.objective, x: 0, y: sweep.axes.length > 1 ? 1 : null, over: "best" },
  drawn: "",

  start() {
    if (!sweep.axes.length) { this.section.hidden = true; return; }
    this.form();
    theme.listeners.push(() => this.show());
    selection.listeners.push(() => this.show());
    let width = this.plot.clientWidth;
    new ResizeObserver(() => {
      if (Math.abs(this.plot.clientWidth - width) < 20) return;
      width = this.plot.clientWidth;
      this.show(); // narrow cells have room for less text
    }).observe(this.plot);
    this.show();
  },

  get kind() {
    const { x, y } = this.choice;
    if (y === null) return "curve";
    return sweep.axes[x].to_scale || sweep.axes[y].to_scale ? "points" : "cells";
  },

  form() {
    const { metric, x, y, over } = this.choice;
    const keys = sweep.axes.map((axis, index) => [String(index), axis.label]);
    const change = (name) => (value) => {
      this.choice[name] = ["x", "y"].includes(name) ? (value === "" ? null : Number(value)) : value;
      this.form();
      this.show();
    };
    const choices = [select("Metric", metricOptions(sweep.metrics.map((entry) => entry.name)), metric, change("metric"))];
    if (keys.length > 1) {
      choices.push(
        select("Across", keys.filter(([key]) => Number(key) !== y), String(x), change("x")),
        select("Up", [...keys.filter(([key]) => Number(key) !== x), ["", "nothing: a curve"]], y === null ? "" : String(y), change("y")),
      );
    }
    if (this.kind !== "points" && maxTrialsPerCell(this.choice) > 1) {
      choices.push(select("Where several trials meet", [["best", "take the best"], ["mean", "take their mean"]], over, change("over")));
    }
    replaceForm(this.section.querySelector("form"), choices);
    find("#map-title").textContent = y === null ? `${metric} over ${sweep.axes[x].label}` : "Heat map";
  },

  show() {
    if (!window.Plotly || this.section.hidden) return;
    const figure = { curve: curveFigure, points: pointsFigure, cells: cellsFigure }[this.kind](this.choice, this.plot.clientWidth);
    this.plot.hidden = !figure;
    if (!figure) {
      this.section.querySelector(".description").textContent = "No trial has a value yet.";
      this.section.querySelector(".numbers").hidden = true;
      return;
    }
    // Plotly does not remove a colour bar that has moved
    const kind = `${this.kind} ${isNarrow(this.plot.clientWidth)}`;
    if (this.drawn && this.drawn !== kind) Plotly.purge(this.plot);
    this.drawn = kind;
    const keys = [this.choice.x, this.choice.y].filter((key) => key !== null).map((key) => sweep.axes[key].label);
    const description = figure.description.filter(Boolean).join(" ");
    this.section.querySelector(".description").textContent = description;
    draw(this.plot, figure, `${this.choice.metric} over ${keys.join(" and ")}. ${description}`);
    const numbers = this.section.querySelector(".numbers");
    numbers.hidden = !figure.table;
    if (figure.table) numbers.querySelector(".scroll").replaceChildren(figure.table);
  },
};

/** How a cell or point combines several trials. */
function overText({ x, y, over, metric }) {
  if (maxTrialsPerCell({ x, y, metric }) < 2) return "";
  const others = sweep.axes.filter((_, index) => index !== x && index !== y).map((axis) => axis.label);
  const of = others.length ? `over ${others.join(", ")}` : "with the same values";
  const each = y === null ? "The line" : "Each cell";
  if (over === "mean") return `${each} is the mean of done trials ${of}.`;
  return metric === sweep.objective ? `${each} is the best trial ${of}.` : `${each} is the trial ${of} that is best by ${sweep.objective}.`;
}

const maxTrialsPerCell = ({ x, y, metric }) =>
  gridOf(x, y, metricIndex.get(metric), "best").flat().reduce((most, cell) => Math.max(most, cell.trials.length), 0);

const metricOf = (choice) => sweep.metrics[metricIndex.get(choice.metric)];

const limitsText = (values, [low, high], direction) => (values.some((value) => value < low || value > high)
  ? `Colours end at ${numberText(direction === "minimize" ? high : low)}: worse values look alike.` : "");

/** Cells in rows, for those who can't see the figure or want its numbers. */
function cellTable(cells, across, up, corner) {
  const shown = (cell) => (cell.value === null ? cell.reason : numberText(cell.value) + (cell.failed ? ` (${cell.failed} failed)` : ""));
  const head = element("tr", {}, element("th", { scope: "col" }, corner), ...across.map((text) => element("th", { scope: "col" }, text)));
  const rows = cells.map((row, index) => element("tr", {}, element("th", { scope: "row" }, up[index]), ...row.map((cell) => element("td", {}, shown(cell)))));
  return element("table", {}, element("thead", {}, head), element("tbody", {}, ...rows));
}
