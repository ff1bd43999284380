/* The page: words and table at once, plots as soon as Plotly is there. */

theme.start();
cards.start();
table.start();
addEventListener("DOMContentLoaded", () => {
  for (const form of document.forms) form.addEventListener("submit", (event) => event.preventDefault());
  // a frame first, so that the table can be used before plots are computed
  requestAnimationFrame(() => setTimeout(() => {
    overKeys.start();
    curves.start();
    document.documentElement.dataset.ready = "true";
  }));
});
