"use strict";
const charts = JSON.parse(document.getElementById("charts").textContent);
function colours() {
  const style = getComputedStyle(document.documentElement);
  return { ink: style.getPropertyValue("--ink").trim(), line: style.getPropertyValue("--line").trim() };
}
function layoutOf(chart) {
  const { ink, line } = colours();
  const axis = { gridcolor: line, zerolinecolor: line, linecolor: line, automargin: true };
  const layout = {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: ink, family: "system-ui, sans-serif", size: 12 },
    margin: { l: 10, r: 10, t: 8, b: 10 }, hovermode: "x unified", hoverlabel: { font: { size: 12 } },
    legend: { orientation: "h", y: -0.24, x: 0 }, ...chart.layout,
  };
  for (const name of ["xaxis", "yaxis", "yaxis2"]) {
    if (name in layout) layout[name] = { ...axis, ...layout[name] };
  }
  return layout;
}
function draw() {
  charts.forEach((chart, i) => {
    Plotly.react(`chart-${i}`, chart.traces, layoutOf(chart), { responsive: true, displaylogo: false, displayModeBar: false });
  });
}
draw();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
