/* The page: texts and table at once, plots when Plotly is loaded. */

theme.start();
cards.start();
table.start();
addEventListener("DOMContentLoaded", () => {
  for (const form of document.forms) form.addEventListener("submit", (event) => event.preventDefault());
  // after a frame, so that the table can be used before plots are computed
  requestAnimationFrame(() => setTimeout(() => {
    overKeys.start();
    curves.start();
    document.documentElement.dataset.ready = "true";
  }));
});
