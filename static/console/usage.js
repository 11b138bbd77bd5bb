// The large chart of the Usage tab. Its numbers are in the page; its colours are the tokens'.
"use strict";

(() => {
  const canvas = document.getElementById("chart");
  const said = document.getElementById("chart-data");
  if (!canvas || !said || !globalThis.Chart) return;
  const { days, series } = JSON.parse(said.textContent);
  const language = document.documentElement.lang === "ru" ? "ru" : "en-GB";
  const dayName = new Intl.DateTimeFormat(language, { day: "numeric", month: "short", timeZone: "UTC" });
  const short = new Intl.NumberFormat(language, { notation: "compact" });
  const exact = (value) => String(value).replace(/\B(?=(\d{3})+$)/g, "\u2009");
  const names = days.map((day) => dayName.format(new Date(day + "T00:00:00Z")));
  const token = (name) => getComputedStyle(document.body).getPropertyValue(name).trim();

  function dressed() {
    const text = token("--on-surface-variant");
    const font = { family: token("--font"), size: 12 };
    return {
      data: {
        labels: names,
        datasets: series.map((part) => ({ label: part.label, data: part.data, backgroundColor: token(part.token), borderRadius: { topLeft: 3, topRight: 3 }, maxBarThickness: 24, categoryPercentage: 0.7, barPercentage: 0.95 })),
      },
      options: {
        animation: false, responsive: true, maintainAspectRatio: false, interaction: { mode: "index", intersect: false },
        plugins: { tooltip: { callbacks: { label: (item) => `${item.dataset.label}: ${exact(item.parsed.y)}` } } },
        scales: {
          x: { stacked: true, grid: { display: false }, border: { display: false }, ticks: { color: text, font, maxRotation: 0, autoSkipPadding: 32 } },
          y: { stacked: true, beginAtZero: true, grid: { color: token("--outline-variant") }, border: { display: false }, ticks: { color: text, font, maxTicksLimit: 4, precision: 0, callback: (value) => short.format(value).replace("K", "k") } },
        },
      },
    };
  }

  const chart = new Chart(canvas, { type: "bar", ...dressed() });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    const again = dressed();
    chart.data = again.data;
    chart.options = again.options;
    chart.update();
  });
})();
