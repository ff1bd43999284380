/* Texts: overview, the best and the selected trial, failures. */

function stateMark(state, older = false) {
  return element("span", { class: `state ${state}` }, element("span", { "aria-hidden": "true" }, STATES[state] ?? "?"), ` ${state}${older ? ", older" : ""}`);
}

function directoryLink(trial) {
  return trial.href ? element("a", { href: trial.href, title: trial.directory }, trial.name) : element("span", { title: trial.directory }, trial.name);
}

const facts = (pairs) => pairs.map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value)));

function trialCard(index) {
  const trial = sweep.trials[index];
  const values = sweep.axes.map((axis, at) => [axis.label, valueOf(trial, at)]);
  const metrics = sweep.metrics.map((metric, at) => [metric.name, number(trial.metrics[at])]).filter(([, value]) => value !== null);
  const [first, rest] = [metrics.slice(0, 8), metrics.slice(8)];
  return [
    element("p", { class: "title" }, stateMark(trial.state, trial.older), " ", directoryLink(trial)),
    element("dl", { class: "values" }, ...facts(values)),
    element("dl", {}, ...facts(first.map(([name, value]) => [name, numberText(value, 5)])), ...facts(number(trial.last_finite) === null ? [] : [[`last finite ${sweep.objective}`, numberText(number(trial.last_finite), 5)]]), ...facts([["duration", durationText(trial.seconds)]])),
    rest.length ? element("details", {}, element("summary", {}, counted(rest.length, "further metric")), element("dl", {}, ...facts(rest.map(([name, value]) => [name, numberText(value, 5)])))) : null,
    trial.message ? element("p", { class: "message" }, trial.message) : null,
    commandBox(trial.command),
  ].filter((part) => part !== null);
}

const cards = {
  start() {
    this.overview();
    if (sweep.best === null) {
      const none = sweep.trials.some((trial) => trial.state === "done") ? "No finished trial has a finite" : "No trial is finished yet, so there is no";
      find("#best .card").replaceChildren(element("p", {}, `${none} ${sweep.objective}.`));
    } else find("#best .card").replaceChildren(...trialCard(sweep.best));
    selection.listeners.push((index) => this.selected(index));
    this.failures();
  },

  overview() {
    find("#name").textContent = sweep.name;
    const count = (state) => sweep.trials.filter((trial) => trial.state === state).length;
    find("#counts").replaceChildren(...Object.keys(STATES).filter(count).map((state) =>
      element("li", { class: state }, element("b", {}, count(state).toLocaleString("en")), " ", stateMark(state))));
    const at = new Date(sweep.generated_at * 1000);
    const spent = sweep.trials.reduce((sum, trial) => sum + (trial.seconds ?? 0), 0);
    find("#facts").replaceChildren(...facts([
      ["Objective", `${sweep.objective} at each trial's best checkpoint, ${better}`],
      ["Best", sweep.best === null ? "none yet" : numberText(objectiveOf(sweep.trials[sweep.best]), 5)],
      ["Trials", `${sweep.trials.length.toLocaleString("en")}, ${durationText(spent)} in total`],
      ["As of", element("time", { datetime: at.toISOString() }, `${at.toLocaleString("en-CA", { dateStyle: "medium", timeStyle: "short", hour12: false })} (${at.toISOString().slice(0, 16).replace("T", " ")} UTC)`)],
    ]));
    const values = sweep.axes.map((axis) => [element("code", {}, axis.key), axis.to_scale ? `${axis.texts.length.toLocaleString("en")} values from ${axis.texts[0]} to ${axis.texts.at(-1)}` : axis.texts.join(", ")]);
    find("#command").append(element("dl", {}, ...facts([...values, ["directory", element("code", {}, sweep.directory)]])), commandBox(sweep.command));
  },

  selected(index) {
    const section = find("#selected");
    section.hidden = index === null;
    if (index !== null) {
      section.querySelector(".card").replaceChildren(...trialCard(index), element("button", { type: "button", onclick: () => selection.choose(index) }, "Clear the selection"));
    }
  },

  /** One entry for each message, which unfolds to its distinct tracebacks. */
  failures() {
    const groups = new Map();
    sweep.trials.forEach((trial, index) => {
      if (!FAILED.includes(trial.state)) return;
      // messages that differ only by the trial's name are one failure
      const message = (trial.message || trial.state).replaceAll(trial.name, "…");
      if (!groups.has(message)) groups.set(message, []);
      groups.get(message).push(index);
    });
    const section = find("#failures");
    section.hidden = !groups.size;
    const sorted = [...groups].sort((a, b) => b[1].length - a[1].length);
    section.append(...sorted.map(([message, indices]) => {
      const details = element("details", { class: "failure" }, element("summary", {}, element("b", {}, counted(indices.length, "trial")), " ", element("span", { class: "message" }, message)));
      // created when opened: a thousand tracebacks would slow the page down
      details.addEventListener("toggle", () => { if (details.children.length === 1) details.append(...this.tracebacks(indices)); }, { once: true });
      return details;
    }));
  },

  tracebacks(indices) {
    const groups = Map.groupBy(indices, (index) => sweep.trials[index].traceback);
    return [...groups].flatMap(([traceback, members]) => [
      element("ul", { class: "of" }, ...members.slice(0, 20).map((index) => element("li", {}, directoryLink(sweep.trials[index]))), members.length > 20 ? element("li", {}, `and ${members.length - 20} more`) : null),
      traceback ? element("pre", { tabindex: "0", role: "group", "aria-label": "Traceback" }, element("code", {}, sweep.tracebacks[traceback])) : element("p", {}, "There is no traceback; see the logs in its directory."),
    ]);
  },
};
