/* The rows of a table: of many, only those near the visible part exist, so that 10,000 stay quick. */

const MOST_ROWS = 300;
/** Of more rows so many exist, and others each time so many are scrolled past. */
const WINDOW = 100;
const STEP = 25;

/** Shows rows in `body`, which scrolls in `scroll`; `rowOf(index)` makes one. */
class Rows {
  constructor(scroll) {
    this.scroll = scroll;
    this.height = 33;
    [this.above, this.below] = [0, 1].map(() => element("tr", { class: "spacer", "aria-hidden": "true" }, element("td", { colspan: "1000" })));
    scroll.addEventListener("scroll", () => requestAnimationFrame(() => this.draw()));
  }

  show(body, indices, rowOf) {
    Object.assign(this, { body, indices, rowOf, first: -1 });
    body.parentElement.setAttribute("aria-rowcount", String(indices.length + 1));
    if (indices.length <= MOST_ROWS) body.replaceChildren(...indices.map(rowOf));
    else this.draw();
  }

  draw() {
    const { indices, body } = this;
    if (!indices || indices.length <= MOST_ROWS) return;
    const visible = Math.floor(this.scroll.scrollTop / this.height / STEP) * STEP;
    const first = Math.min(Math.max(0, visible - STEP), indices.length - WINDOW);
    if (first === this.first) return;
    this.first = first;
    const shown = indices.slice(first, first + WINDOW).map(this.rowOf);
    shown.forEach((row, at) => row.setAttribute("aria-rowindex", String(first + at + 2)));
    body.replaceChildren(this.above, ...shown, this.below);
    this.height = shown[0].getBoundingClientRect().height || this.height;
    this.above.firstChild.style.height = `${first * this.height}px`;
    this.below.firstChild.style.height = `${(indices.length - first - WINDOW) * this.height}px`;
  }
}
