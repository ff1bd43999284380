/* Dark and light: by the system, or by the button. */

const theme = {
  listeners: [],
  system: matchMedia("(prefers-color-scheme: dark)"),
  get dark() {
    const chosen = document.documentElement.dataset.theme;
    return chosen ? chosen === "dark" : this.system.matches;
  },
  colour: (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim(),
  choose(name) {
    document.documentElement.dataset.theme = name;
    try { localStorage.setItem("espnet3-report-theme", name); } catch { /* some browsers forbid it for files */ }
    this.changed();
  },
  changed() {
    const button = find("#theme");
    button.replaceChildren(element("span", { "aria-hidden": "true" }, this.dark ? "☀ " : "☾ "), this.dark ? "Light colours" : "Dark colours");
    for (const listener of this.listeners) listener();
  },
  start() {
    try {
      const kept = localStorage.getItem("espnet3-report-theme");
      if (kept === "dark" || kept === "light") document.documentElement.dataset.theme = kept;
    } catch { /* as above */ }
    find("#theme").addEventListener("click", () => this.choose(this.dark ? "light" : "dark"));
    this.system.addEventListener("change", () => this.changed());
    this.changed();
  },
};

const VIRIDIS = ["#440154", "#482475", "#414487", "#355f8d", "#2a788e", "#21918c", "#22a884", "#44bf70", "#7ad151", "#bddf26", "#fde725"]
  .map((text) => [1, 3, 5].map((at) => parseInt(text.slice(at, at + 2), 16)));

/** Red, green and blue of a share from 0 to 1: Viridis, which colour-blind readers can order too. */
function viridis(share) {
  const position = Math.min(Math.max(share, 0), 1) * (VIRIDIS.length - 1);
  const [before, after] = [VIRIDIS[Math.floor(position)], VIRIDIS[Math.ceil(position)]];
  return before.map((value, index) => Math.round(value + (after[index] - value) * (position % 1)));
}

/** Better values stand out more from the background. */
const shareOf = (goodness) => (theme.dark ? 0.12 + 0.88 * goodness : 0.92 * (1 - goodness));
const colourOf = (goodness) => `rgb(${viridis(shareOf(goodness)).join(",")})`;

/** Black or white, whichever is easier to read on a colour. */
function textColourOn([red, green, blue]) {
  const light = [red, green, blue].map((value) => (value / 255 <= 0.04045 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * light[0] + 0.7152 * light[1] + 0.0722 * light[2] > 0.18 ? "#000" : "#fff";
}
