/* Shared by all figures: layout by the theme, axes, colour bar, and drawing. */

const CONFIG = {
  displaylogo: false,
  responsive: true,
  // listed explicitly: Plotly's default has a button that uploads the chart's data
  modeBarButtons: [["toImage", "zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d"]],
  showSendToCloud: false,
  plotlyServerURL: "",
  toImageButtonOptions: { format: "png", scale: 2, filename: [sweep.recipe, sweep.name].filter(Boolean).join("-").replace(/[^\w.-]+/g, "-") },
};

const isNarrow = (width) => width < 520;

function layoutOf(more) {
  const font = { family: "system-ui, sans-serif", color: theme.colour("text") };
  return {
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { ...font, size: 13 },
    hoverlabel: { bgcolor: theme.colour("surface"), bordercolor: theme.colour("line"), align: "left", font },
    hovermode: "closest",
    showlegend: false,
    dragmode: false,
    margin: { l: 10, r: 10, t: 10, b: 10 },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: theme.colour("muted"), activecolor: theme.colour("accent") },
    ...more,
  };
}

function axisOf(title, more = {}) {
  return {
    title: { text: plain(shortened(title, 60)), standoff: 10 },
    automargin: true,
    gridcolor: theme.colour("line"),
    linecolor: theme.colour("line"),
    zeroline: false,
    exponentformat: "power",
    ...more,
  };
}

/** The axis of a swept key's numbers: to scale, with a tick at each value where there are few. */
function numberAxis(axis) {
  const few = axis.numbers.length <= 12 ? { tickvals: axis.numbers, ticktext: axis.texts.map(plain) } : {};
  return axisOf(axis.label, { type: axis.log ? "log" : "linear", ...few });
}

/** The axis of a swept key's values, evenly spread: value number n is at n. */
function categoryAxis(axis) {
  const step = Math.ceil(axis.texts.length / 16);
  const shown = axis.texts.map((_, index) => index).filter((index) => index % step === 0);
  return axisOf(axis.label, {
    type: "linear", range: [-0.5, axis.texts.length - 0.5], showgrid: false, ticks: "",
    tickvals: shown, ticktext: shown.map((index) => plain(shortened(axis.texts[index], 18))),
  });
}

/** How good the value at a share of the scale is; if the direction is unknown, high values stand out. */
const goodnessAt = (share, direction) => (direction === "minimize" ? 1 - share : share);

const scaleColours = (direction) => VIRIDIS.map((_, index) => {
  const share = index / (VIRIDIS.length - 1);
  return [share, `rgb(${viridis(shareOf(goodnessAt(share, direction))).join(",")})`];
});

function colourAt(value, [low, high], direction) {
  const share = (Math.min(Math.max(value, low), high) - low) / (high - low || 1);
  return viridis(shareOf(goodnessAt(share, direction)));
}

const meaningOf = (direction) => (direction ? ` (${direction === "maximize" ? "higher" : "lower"} is better)` : "");

function colourBar({ name, direction }, narrow) {
  return {
    title: { text: plain(shortened(name + meaningOf(direction), 48)), side: narrow ? "top" : "right" },
    orientation: narrow ? "h" : "v",
    ...(narrow ? { y: -0.25, yanchor: "top", thickness: 12 } : { thickness: 14 }),
    outlinewidth: 0,
    exponentformat: "power",
  };
}

/** Whether a logarithmic axis is better: on a linear one the interesting end would be a flat line. */
function spansFactors(values) {
  const [low, high] = values.reduce(([least, most], value) => [Math.min(least, value), Math.max(most, value)], [Infinity, -Infinity]);
  return low > 0 && high > 50 * low;
}

const metricOptions = (names) => names.map((name) => [name, name === sweep.objective ? `${name} (objective)` : name]);

/** Puts new choices into a form; the one that has the focus keeps it. */
function replaceForm(form, choices) {
  const focused = [...form.children].findIndex((child) => child.contains(document.activeElement));
  form.replaceChildren(...choices);
  form.children[focused]?.querySelector("select, input")?.focus();
}

/** Draw a figure whose contents are described by `description`; a click selects the trial. */
function draw(plot, { traces, layout, trialOf }, description) {
  plot.setAttribute("role", "figure");
  plot.setAttribute("aria-label", description);
  Plotly.react(plot, traces, layout, CONFIG);
  plot.removeAllListeners("plotly_click");
  plot.on("plotly_click", ({ points: [point] }) => {
    const index = trialOf(point);
    if (index !== undefined && index !== null) selection.choose(index);
  });
}
