/* Learning curves of all trials: one trace per class of the objective, for any number of trials. */

const CLASSES = 8;

const curves = {
  section: find("#curves"),
  plot: find("#curves .plot"),
  names: Object.keys(sweep.curves.metrics),
  choice: { metric: "", log: null },

  start() {
    if (!this.names.length) { this.section.hidden = true; return; }
    this.choice.metric = this.names.includes(sweep.objective) ? sweep.objective : this.names[0];
    this.form();
    theme.listeners.push(() => this.show());
    selection.listeners.push(() => this.highlight());
    this.show();
  },

  form() {
    const log = element("input", { type: "checkbox", onchange: () => { this.choice.log = log.checked; this.show(); } });
    this.logBox = log;
    this.section.querySelector("form").replaceChildren(
      select("Metric", metricOptions(this.names), this.choice.metric, (value) => { this.choice = { metric: value, log: null }; this.show(); }),
      element("label", { class: "check" }, log, "logarithmic"),
    );
  },

  /** [epochs, values, trial's index] of each trial that has the metric. */
  get shown() {
    return sweep.curves.metrics[this.choice.metric].map(([index, epochs, values]) => [sweep.curves.epochs[epochs], values, index]);
  },

  show() {
    if (!window.Plotly || this.section.hidden) return;
    const shown = this.shown;
    const ranked = ranks.filter((rank) => rank !== null).length;
    const classes = Math.min(CLASSES, Math.max(ranked, 1));
    // the last group has no rank: not done, diverged, or older
    const groups = Array.from({ length: classes + 1 }, () => []);
    for (const curve of shown) {
      const rank = ranks[curve[2]];
      groups[rank === null ? classes : Math.floor(((rank - 1) / ranked) * classes)].push(curve);
    }
    const points = shown.reduce((sum, [epochs]) => sum + epochs.length, 0);
    const traces = groups.map((group, index) => this.trace(group, points < 600, index < classes
      ? { color: colourOf(classes === 1 ? 1 : 1 - index / (classes - 1)), width: shown.length > 60 ? 1.2 : 2 }
      : { color: theme.colour("muted"), width: 1.2, dash: "dot" }));
    traces.reverse(); // the best on top
    traces.push(this.highlighted());

    const log = this.choice.log ?? spansFactors(shown.flatMap(([, values]) => values.filter((value) => value !== null)));
    this.logBox.checked = log;
    const text = this.description(shown.length);
    this.section.querySelector(".description").replaceChildren(...this.legend(), text);
    const layout = layoutOf({ height: 420, xaxis: axisOf("epoch", this.wholeEpochs()), yaxis: axisOf(this.choice.metric, { type: log ? "log" : "linear" }) });
    draw(this.plot, { traces, layout, trialOf: (point) => point.customdata }, `Learning curves: ${this.choice.metric} by epoch. ${text}`);
  },

  /** Ticks at whole epochs if there are few. */
  wholeEpochs() {
    const last = this.shown.reduce((most, [epochs]) => Math.max(most, epochs.at(-1)), 0);
    return last < 12 ? { dtick: 1 } : {};
  },

  /** Many curves as one trace, with gaps between them. */
  trace(group, marked, line) {
    const [x, y, text, customdata] = [[], [], [], []];
    for (const [epochs, values, index] of group) {
      const name = plain(shortened(sweep.trials[index].name, 70));
      for (let at = 0; at < epochs.length; at += 1) {
        x.push(epochs[at]); y.push(values[at]); text.push(name); customdata.push(index);
      }
      x.push(null); y.push(null); text.push(""); customdata.push(null);
    }
    return {
      type: "scatter", mode: marked ? "lines+markers" : "lines", x, y, text, customdata, line,
      marker: { size: 4, color: line.color }, connectgaps: false,
      hovertemplate: `<b>%{text}</b><br>epoch %{x}: %{y:.4g}<extra></extra>`,
    };
  },

  highlighted() {
    const group = this.shown.filter(([, , index]) => index === selection.index);
    return this.trace(group, true, { color: theme.colour("highlight"), width: 4 });
  },

  highlight() {
    if (!window.Plotly || this.section.hidden) return;
    const { x, y, text, customdata } = this.highlighted();
    Plotly.restyle(this.plot, { x: [x], y: [y], text: [text], customdata: [customdata] }, [this.plot.data.length - 1]);
  },

  legend() {
    if (!ranks.includes(2)) return [];
    const colours = Array.from({ length: CLASSES }, (_, index) => colourOf(index / (CLASSES - 1))).join(", ");
    return [element("span", { class: "legend" }, "worst", element("span", { class: "ramp", style: `background: linear-gradient(to right, ${colours})` }), `best by ${sweep.objective}`), " "];
  },

  description(count) {
    const texts = [`${counted(count, "curve")}, coloured by rank.`];
    if (this.shown.some(([, , index]) => ranks[index] === null)) texts.push(`Dotted: trials without a result${sweep.trials.some((trial) => trial.older) ? ", or of an older configuration" : ""}.`);
    if (sweep.curves.thinned_to) texts.push(`Long curves are thinned to ${sweep.curves.thinned_to} points, which keep the extremes; report.json has all points.`);
    texts.push("Click on a curve, a cell or a row to highlight the trial.");
    return texts.join(" ");
  },
};
