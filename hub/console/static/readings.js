"use strict";
// The newest readings of a stream: a chart by uPlot, and a table. What devices wrote becomes text, never HTML.
const live = document.getElementById("live");
const stream = document.getElementById("stream"), device = document.getElementById("device");
const fields = document.getElementById("fields"), note = document.getElementById("note");
const chart = document.getElementById("chart"), table = document.getElementById("newest");
const whole = new Intl.NumberFormat("en");
const MOST_LINES = 6, ROWS = 8, HIDDEN = new Set(["device_id", "event_time"]);
let chosen = { device: live.dataset.device, fields: null };
let answer = null, plot = null, shape = "";

function make(tag, text, name) {
  const it = document.createElement(tag);
  if (text !== undefined) it.textContent = text;
  if (name) it.className = name;
  return it;
}

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const isNumber = (v) => typeof v === "number";
const isWave = (name) => answer.readings.some((r) => Array.isArray(r[name]) && r[name].length);
const drawable = () => answer.fields.filter((f) => f.numeric && !HIDDEN.has(f.name)
  && (isWave(f.name) || answer.readings.some((r) => isNumber(r[f.name]))));

function chooseDevice() {
  const names = [...new Set(answer.readings.map((r) => r.device_id))].sort();
  if (chosen.device && !names.includes(chosen.device)) names.unshift(chosen.device); // it may send again
  if (!chosen.device) chosen.device = names[0] || "";
  if ([...device.options].map((o) => o.value).join("\n") !== names.join("\n")) {
    device.replaceChildren(...names.map((n) => new Option(n, n)));
  }
  device.value = chosen.device;
}

function chooseFields() {
  const found = drawable(), names = found.map((f) => f.name), waves = names.filter(isWave);
  if (!chosen.fields || !chosen.fields.every((f) => names.includes(f))) {
    chosen.fields = (waves.length ? waves : names).slice(0, 3);
  }
  const key = [...names, "/", ...chosen.fields].join(" ");
  if (fields.dataset.key === key) return;
  fields.dataset.key = key;
  fields.replaceChildren(...found.slice(0, 12).map((f) => {
    const label = make("label"), box = make("input");
    box.type = "checkbox";
    box.checked = chosen.fields.includes(f.name);
    box.addEventListener("change", () => {
      // Waveforms and numbers have different axes: to choose one kind drops the other.
      const others = chosen.fields.filter((n) => n !== f.name && isWave(n) === isWave(f.name));
      chosen.fields = box.checked ? [...others, f.name].slice(-MOST_LINES) : others;
      show();
    });
    label.append(box, ` ${f.name}${f.unit ? ` (${f.unit})` : ""}`);
    return label;
  }));
}

// [x, values of each chosen field]: over time, or over the samples of the last waveform.
function columns(mine) {
  if (!mine.length || !chosen.fields.length) return null;
  if (chosen.fields.some(isWave)) {
    const last = [...mine].reverse().find((r) => chosen.fields.some((f) => Array.isArray(r[f])));
    if (!last) return null;
    const length = Math.max(...chosen.fields.map((f) => (last[f] || []).length));
    return [[...Array(length).keys()], ...chosen.fields.map((f) => Array.from({ length }, (_, i) => (last[f] || [])[i] ?? null))];
  }
  const rows = mine.map((r) => [Date.parse(r.event_time) / 1000, r]).sort((a, b) => a[0] - b[0]);
  return [rows.map((r) => r[0]), ...chosen.fields.map((f) => rows.map((r) => (isNumber(r[1][f]) ? r[1][f] : null)))];
}

function draw(mine) {
  const data = columns(mine), wave = chosen.fields.some(isWave);
  const now = data ? [...chosen.fields, wave].join(" ") : "";
  if (plot && now === shape) {
    plot.setData(data);
    return;
  }
  if (plot) plot.destroy();
  plot = null;
  shape = now;
  if (!data) return;
  const units = Object.fromEntries(answer.fields.map((f) => [f.name, f.unit]));
  const axis = { stroke: colour("--soft"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line"), width: 1 } };
  const lines = chosen.fields.map((f, i) => ({ label: f + (units[f] ? ` (${units[f]})` : ""), stroke: colour(`--line-${i + 1}`), width: 1.5 }));
  const clock = (s, whole) => new Date(s * 1000).toISOString().slice(11, whole ? 19 : 23);
  const ticks = (_, splits) => splits.map((s) => clock(s, splits.every((v) => v % 1 === 0)));
  const x = wave ? axis : { ...axis, space: 90, values: ticks };
  const time = wave ? { label: "sample" } : { label: "UTC", value: (_, s) => (s === null ? "–" : clock(s, false)) };
  const range = (u, low, high) => (u.data[0].length === 1 ? [low - 5, low + 5] : [low, high]); // uPlot: a whole day for one reading
  plot = new uPlot({
    width: chart.clientWidth, height: 300, series: [time, ...lines],
    scales: { x: { time: !wave, range } }, axes: [x, { ...axis, size: 64 }],
  }, data, chart);
}

function cell(value) {
  if (value === null || value === undefined) return "";
  if (typeof value === "string" && /^\d{4}-\d\d-\d\dT/.test(value)) return value.slice(0, 23).replace("T", " ");
  if (Array.isArray(value)) return `${whole.format(value.length)} values`;
  return isNumber(value) ? String(Number(value.toPrecision(7))) : String(value);
}

function list(mine) {
  const rows = mine.slice(-ROWS).reverse(), numeric = new Set(answer.fields.filter((f) => f.numeric).map((f) => f.name));
  const names = answer.fields.map((f) => f.name).filter((n) => n !== "device_id" && rows.some((r) => cell(r[n]) !== ""));
  const kind = (n) => (numeric.has(n) ? "end" : "");
  const head = make("tr");
  head.append(...names.map((n) => make("th", n, kind(n))));
  table.tHead.replaceChildren(head);
  table.tBodies[0].replaceChildren(...rows.map((r) => {
    const row = make("tr");
    row.append(...names.map((n) => make("td", cell(r[n]), kind(n))));
    return row;
  }));
}

function show() {
  chooseDevice();
  chooseFields();
  const mine = answer.readings.filter((r) => r.device_id === chosen.device);
  draw(mine);
  list(mine);
  const name = live.dataset.stream;
  if (!answer.readings.length) note.textContent = `${name} is empty so far. \`headrace devices add board-01\` prints a command that sends a reading.`;
  else if (!mine.length) note.textContent = `None of ${chosen.device} among the newest ${whole.format(answer.readings.length)} readings of ${name}.`;
  else note.textContent = `${whole.format(mine.length)} of the newest ${whole.format(answer.readings.length)} readings of ${name} are of this device. Times are UTC.`;
  note.className = "soft";
  live.setAttribute("aria-busy", "false");
}

function fail(words) {
  note.textContent = words;
  note.className = "bad";
}

async function ask() {
  try {
    const got = await fetch(live.dataset.source, { cache: "no-store", redirect: "manual" });
    if (got.type === "opaqueredirect") {
      location.reload(); // logged out: the page leads to the login
      return;
    }
    const told = await got.json();
    if (got.ok) {
      answer = told;
      show();
    } else {
      fail(told.error);
    }
  } catch {
    fail("Hub does not answer. This page tries again.");
  }
  setTimeout(ask, document.hidden ? 5000 : 1000); // after the answer: a slow one is not asked for twice
}

function anew() {
  shape = "";
  if (answer) show();
}

stream.addEventListener("change", () => location.assign(stream.value));
device.addEventListener("change", () => { chosen.device = device.value; show(); });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", anew);
new ResizeObserver(() => { if (plot) plot.setSize({ width: chart.clientWidth, height: 300 }); }).observe(chart);
ask();
