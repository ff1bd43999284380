/* Create elements, and format numbers and texts. Text is never parsed as HTML. */

function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") node.addEventListener(name.slice(2), value);
    else if (value !== null && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}

const find = (selector) => document.querySelector(selector);

/** JSON has no NaN or infinity: they are embedded as text. */
const number = (value) => (value === null || value === undefined ? null : Number(value));

/** As number_text.py: outside of 0.01 to 1e5 with an exponent where that is shorter. `even`: with trailing zeros, for a column. */
function numberText(value, digits = 4, even = false) {
  if (value === null) return "–";
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "NaN" : value > 0 ? "∞" : "−∞";
  const size = Math.abs(value);
  const rounded = Number(value.toPrecision(digits));
  const plainText = rounded.toLocaleString("en", { useGrouping: false, maximumSignificantDigits: digits });
  const scientific = rounded.toExponential().replace("e+", "e");
  if (size !== 0 && (size < 0.01 || size >= 1e5) && scientific.length < plainText.length) return scientific;
  return even && !Number.isInteger(value) && size >= 1e-5 && size < 10 ** (digits - 1) ? value.toPrecision(digits) : plainText;
}

/** A share as "93 %"; one that is not all is never shown as 100 %. */
function shareText(share) {
  return share === null ? "–" : `${share < 1 ? Math.min(99, Math.round(100 * share)) : 100} %`;
}

function durationText(seconds) {
  if (seconds === null) return "–";
  const [days, hours, minutes] = [86400, 3600, 60].map((unit) => Math.floor(seconds / unit));
  if (days) return `${days} d ${hours % 24} h`;
  if (hours) return `${hours} h ${minutes % 60} min`;
  if (minutes) return `${minutes} min ${Math.round(seconds % 60) % 60} s`;
  return `${seconds < 10 ? Number(seconds.toFixed(1)) : Math.round(seconds)} s`;
}

const counted = (count, what) => `${count.toLocaleString("en")} ${what}${count === 1 ? "" : "s"}`;

/** Plotly parses texts as HTML and TeX: escape them. */
const plain = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;").replace(/\$/g, "&#36;");

const shortened = (text, most = 24) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);

function select(label, options, chosen, changed) {
  const box = element("select", { onchange: () => changed(box.value) });
  for (const [value, text] of options) box.append(element("option", { value, selected: value === chosen }, text));
  return element("label", {}, element("span", {}, label), box);
}

/** A command with a copy button; long lines wrap. */
function commandBox(command) {
  const status = element("span", { role: "status" });
  const code = element("code", { tabindex: "0" }, command);
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(command);
    } catch {
      getSelection().selectAllChildren(code);
      if (!document.execCommand("copy")) { status.textContent = "selected: press Ctrl-C"; return; }
      getSelection().removeAllRanges();
    }
    status.textContent = "copied";
    setTimeout(() => { status.textContent = ""; }, 2000);
  };
  return element("div", { class: "command" },
    element("pre", {}, code),
    element("div", { class: "copy" }, element("button", { type: "button", onclick: copy }, "Copy command"), status));
}
