/* The table of trials: sorted, filtered, with columns to choose. */

const SHOWN_METRICS = 6;

const table = {
  section: find("#trials"),
  columns: [],
  rows: new Map(),
  sorted: { by: "rank", down: false },
  filters: { text: "", states: null, positions: new Map() },

  start() {
    this.columns = this.allColumns();
    this.window = new Rows(this.section.querySelector(".scroll"));
    this.form();
    this.build();
    selection.listeners.push(() => this.mark());
  },

  // --- columns

  allColumns() {
    const trials = sweep.trials;
    const columns = [
      { id: "rank", label: "Rank", number: (index) => ranks[index], cell: (index) => this.rankButton(index), title: `by ${sweep.objective}: ${better}` },
      { id: "state", label: "State", text: (index) => trials[index].state, cell: (index) => stateMark(trials[index].state, trials[index].older) },
      ...sweep.axes.map((axis, at) => ({
        id: `key ${axis.key}`, label: axis.label, title: axis.key, names: [axis.label, axis.key], swept: true,
        number: (index) => (trials[index].positions[at] < 0 ? null : trials[index].positions[at]),
        compared: axis.numbers && ((index) => (trials[index].positions[at] < 0 ? null : axis.numbers[trials[index].positions[at]])),
        cell: (index) => valueOf(trials[index], at),
      })),
      ...metricsByInterest.map((at, place) => [sweep.metrics[at], at, place]).map(([metric, at, place]) => ({
        id: `metric ${metric.name}`, label: metric.name, title: at ? "" : `the objective: ${better}`, names: [metric.name], right: true,
        number: (index) => number(trials[index].metrics[at]), cell: (index) => (at === 0 && this.lastFinite(index)) || numberText(number(trials[index].metrics[at]), 4, true),
        hidden: place > SHOWN_METRICS && !isScored(metric),
      })),
      { id: "duration", label: "Duration", names: ["duration", "seconds"], right: true, number: (index) => trials[index].seconds, cell: (index) => durationText(trials[index].seconds) },
      { id: "trained", label: "Trained", names: ["trained"], right: true, title: "share of the time on nodes that training batches took", number: (index) => trials[index].trained, cell: (index) => shareText(trials[index].trained), hidden: !trials.some((trial) => trial.trained !== null) },
      { id: "message", label: "Why", text: (index) => trials[index].message, cell: (index) => element("span", { class: "message", title: trials[index].message }, trials[index].message), hidden: !trials.some((trial) => trial.message) },
      { id: "directory", label: "Directory", text: (index) => trials[index].directory, cell: (index) => directoryLink(trials[index]) },
    ];
    return columns;
  },

  /** Of a diverged trial the last finite value of the objective, in brackets: it is not compared. */
  lastFinite(index) {
    const last = number(sweep.trials[index].last_finite);
    return last === null ? null : element("span", { title: "the last finite value before it diverged" }, `(${numberText(last, 4, true)})`);
  },

  rankButton(index) {
    const text = index === sweep.best ? `★ ${ranks[index] ?? ""}` : String(ranks[index] ?? "–");
    const name = `${index === sweep.best ? "best trial, " : ""}${ranks[index] === null ? "no rank" : `rank ${ranks[index]}`}: select ${sweep.trials[index].name}`;
    return element("button", { type: "button", class: "rank", "aria-label": name, "aria-pressed": "false" }, text);
  },

  // --- filters

  form() {
    const form = this.section.querySelector("form");
    form.addEventListener("submit", (event) => event.preventDefault());
    const search = element("input", { type: "search", id: "search", placeholder: "text, or lr>=1e-4", autocomplete: "off", "aria-describedby": "search-help", oninput: () => { this.filters.text = search.value; this.show(); } });
    const present = Object.keys(STATES).filter((state) => sweep.trials.some((trial) => trial.state === state));
    this.filters.states = new Set(present);
    const states = present.map((state) => {
      const box = element("input", { type: "checkbox", checked: true, value: state, onchange: () => { this.filters.states[box.checked ? "add" : "delete"](state); this.show(); } });
      return element("label", { class: "check" }, box, stateMark(state));
    });
    const keys = sweep.axes.map((axis, at) => (axis.to_scale || axis.texts.length > 60 ? null : select(axis.label, [["", "any"], ...axis.texts.map((text, position) => [String(position), shortened(text, 40)])], "",
      (value) => { if (value === "") this.filters.positions.delete(at); else this.filters.positions.set(at, Number(value)); this.show(); })));
    form.replaceChildren(
      element("label", { class: "wide" }, element("span", {}, "Search"), search),
      ...keys.filter((key) => key !== null),
      element("fieldset", {}, element("legend", {}, "State"), ...states),
      this.columnChooser(),
      element("button", { type: "reset", onclick: () => setTimeout(() => this.reset(present)) }, "Reset"),
      element("p", { class: "hint", id: "search-help" }, "A row must contain all words; ", element("code", {}, "name<number"), " (also ", element("code", {}, "<= >= > ="), ") compares a column."),
    );
  },

  columnChooser() {
    const boxes = this.columns.map((column) => {
      const box = element("input", { type: "checkbox", checked: !column.hidden, onchange: () => { column.hidden = !box.checked; this.build(); } });
      return element("label", { class: "check" }, box, column.label);
    });
    // its boxes are not filters, so a reset does not change them
    return element("details", { class: "columns" }, element("summary", {}, "Columns"), element("div", {}, ...boxes));
  },

  reset(present) {
    this.filters = { text: "", states: new Set(present), positions: new Map() };
    for (const column of this.columns) column.hidden = false;
    this.columns = this.allColumns();
    this.build();
  },

  /** Whether a row is shown, as a function of its index; and what is wrong with the filter. */
  filter() {
    const { states, positions } = this.filters;
    const { tests, problems } = parseFilter(this.filters.text, this.columns, (index) => this.text(index));
    const passes = (index) => {
      const trial = sweep.trials[index];
      return states.has(trial.state) && [...positions].every(([at, position]) => trial.positions[at] === position) && tests.every((test) => test(index));
    };
    return { passes, problems };
  },

  text(index) {
    const trial = sweep.trials[index];
    return [trial.name, trial.state, trial.message, trial.directory, valuesText(trial)].join("\n").toLowerCase();
  },

  // --- rows

  build() {
    const columns = this.columns.filter((column) => !column.hidden);
    const head = element("tr", {}, ...columns.map((column) => element("th", { scope: "col", class: column.right ? "right" : null, title: column.title || null, "data-column": column.id },
      element("button", { type: "button", onclick: () => this.sort(column.id) }, column.label))));
    this.shownColumns = columns;
    this.rows = new Map();
    this.body = element("tbody", { onclick: (event) => this.clicked(event) });
    this.section.querySelector("table").replaceChildren(
      element("caption", { class: "unseen" }, "Trials of the sweep; a heading sorts, a rank selects"), element("thead", {}, head), this.body,
    );
    this.show();
  },

  /** The row of a trial, made when it is first shown. */
  row(index) {
    if (!this.rows.has(index)) {
      const row = element("tr", { class: sweep.trials[index].state, "data-trial": String(index) });
      for (const column of this.shownColumns) row.append(element("td", { class: column.right ? "right" : null }, column.cell(index)));
      this.rows.set(index, row);
      this.markRow(row, index);
    }
    return this.rows.get(index);
  },

  clicked(event) {
    if (event.target.closest("a") || getSelection().toString()) return;
    const row = event.target.closest("tr[data-trial]");
    if (row) selection.choose(Number(row.dataset.trial));
  },

  sort(id) {
    this.sorted = { by: id, down: this.sorted.by === id ? !this.sorted.down : false };
    this.show();
  },

  show() {
    const { passes, problems } = this.filter();
    const indices = sweep.trials.map((_, index) => index).filter(passes);
    const column = this.columns.find((candidate) => candidate.id === this.sorted.by);
    const sign = this.sorted.down ? -1 : 1;
    const key = column.number ?? column.text;
    const keys = new Map(indices.map((index) => [index, key(index)]));
    // missing values and NaN are always last
    const empty = (value) => value === null || value === "" || Number.isNaN(value);
    indices.sort((a, b) => {
      const [first, second] = [keys.get(a), keys.get(b)];
      if (empty(first) || empty(second)) return empty(first) - empty(second) || a - b;
      return sign * (column.number ? first - second : first.localeCompare(second, "en", { numeric: true })) || a - b;
    });
    this.window.show(this.body, indices, (index) => this.row(index));
    for (const head of this.section.querySelectorAll("th[data-column]")) {
      const sorted = head.dataset.column === this.sorted.by;
      head.toggleAttribute("aria-sort", sorted);
      if (sorted) head.setAttribute("aria-sort", this.sorted.down ? "descending" : "ascending");
    }
    const count = indices.length === sweep.trials.length
      ? counted(indices.length, "trial") : `${indices.length.toLocaleString("en")} of ${counted(sweep.trials.length, "trial")}`;
    this.section.querySelector("[role=status]").textContent = [count, ...problems].join("; ");
  },

  mark() {
    this.rows.forEach((row, index) => this.markRow(row, index));
  },

  markRow(row, index) {
    const chosen = index === selection.index;
    row.classList.toggle("chosen", chosen);
    row.querySelector(".rank")?.setAttribute("aria-pressed", String(chosen));
  },
};
