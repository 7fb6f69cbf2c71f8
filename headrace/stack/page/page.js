"use strict";
// Reads /api/status and /api/newest, both of this page's own origin. Nothing is written anywhere.
const $ = (id) => document.getElementById(id);
const whole = new Intl.NumberFormat("en");
const COLOURS = ["#0a7d9a", "#d9480f", "#5f3dc4", "#2b8a3e", "#c2255c", "#a86400"];
const STEPS = [
  ["mosquitto", "Mosquitto", "MQTT broker"], ["bridge", "bridge", "MQTT to Kafka"], ["kafka", "Kafka", "log"],
  ["registry", "registry", "contracts"], ["clean", "clean", "rules, repeats"], ["archive", "archive", "Parquet"],
  ["store", "S3 server", "the lake"],
];
const HIDDEN = new Set(["device_id", "event_time"]);
const MOST_LINES = 6;
let chosen = { stream: null, device: null, fields: null };
let newest = null;

function make(tag, text, name) {
  const it = document.createElement(tag);
  if (text !== undefined) it.textContent = text;
  if (name) it.className = name;
  return it;
}

async function get(path) {
  const answer = await fetch(path, { cache: "no-store" });
  if (!answer.ok) throw new Error(`${path}: HTTP ${answer.status}`);
  return answer.json();
}

function tone(state) {
  if (state === "ready") return "good";
  return state === "failed" || state === "crashed" || state === "stopped" ? "bad" : "wait";
}

function showFlow(status) {
  const known = new Set(STEPS.map((s) => s[0]));
  const more = Object.keys(status.services).filter((n) => !known.has(n)).map((n) => [n, n, ""]);
  $("flow").replaceChildren(...[...STEPS, ...more].filter(([n]) => status.services[n]).map(([name, title, what]) => {
    const s = status.services[name];
    const it = make("li", undefined, tone(s.state));
    it.append(make("b", title));
    it.append(make("span", s.state + (s.restarts ? `, restarted ${s.restarts}×` : "")));
    it.append(make("small", s.message || s.address || what));
    if (s.readings_per_second !== undefined) it.append(make("small", `${whole.format(Math.round(s.readings_per_second))} readings/s`));
    return it;
  }));
}

function sparkline(history, stream) {
  const values = history.map((h) => h.readings_per_second[stream] || 0);
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 120 26");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  if (values.length > 1) {
    const top = Math.max(...values, 1);
    const line = document.createElementNS("http://www.w3.org/2000/svg", "polyline");
    const at = (v, i) => `${(i * 120 / (values.length - 1)).toFixed(1)},${(24 - v / top * 22).toFixed(1)}`;
    line.setAttribute("points", values.map(at).join(" "));
    svg.append(line);
  }
  return svg;
}

function showStreams(status) {
  $("streams").replaceChildren(...Object.entries(status.streams).map(([name, s]) => {
    const row = make("tr");
    const number = (v, name) => row.append(make("td", v === undefined ? "–" : whole.format(Math.round(v)), "n " + (name || "")));
    row.append(make("th", name));
    number(s.bridge_rate);
    const trend = make("td", undefined, "trend");
    trend.append(sparkline(status.history, name));
    row.append(trend);
    number(s.bridge);
    number(s.clean_lag, s.clean_lag > 10000 ? "wait" : "");
    number(s.archive_lag);
    number(s.archive);
    number(s.dead_letters || 0, s.dead_letters ? "bad" : "");
    return row;
  }));
}

function options(select, names, value) {
  if ([...select.options].map((o) => o.value).join("\n") !== names.join("\n")) {
    select.replaceChildren(...names.map((n) => new Option(n, n)));
  }
  select.value = value;
}

function chooseFields(fields) {
  const drawable = fields.filter((f) => f.numeric && !HIDDEN.has(f.name) && newest.readings.some((r) => series(r, f.name) !== null));
  const names = drawable.map((f) => f.name);
  if (!chosen.fields || !chosen.fields.every((f) => names.includes(f))) chosen.fields = names.slice(0, 3);
  const key = names.join(" ");
  if ($("fields").dataset.key === key) return;
  $("fields").dataset.key = key;
  $("fields").replaceChildren(...drawable.slice(0, 12).map((f) => {
    const label = make("label");
    const box = make("input");
    box.type = "checkbox";
    box.checked = chosen.fields.includes(f.name);
    box.addEventListener("change", () => {
      chosen.fields = box.checked ? [...chosen.fields, f.name].slice(-MOST_LINES) : chosen.fields.filter((n) => n !== f.name);
      draw();
    });
    label.append(box, ` ${f.name}${f.unit ? ` (${f.unit})` : ""}`);
    return label;
  }));
}

// A number, a waveform (array), or null where there is nothing to draw.
function series(reading, name) {
  const v = reading[name];
  if (Array.isArray(v)) return v.length ? v : null;
  return typeof v === "number" ? v : null;
}

function lines() {
  const mine = newest.readings.filter((r) => r.device_id === chosen.device);
  const last = mine[mine.length - 1];
  return (chosen.fields || []).map((name) => {
    if (last && Array.isArray(last[name])) return { name, points: last[name].map((y, i) => [i, y]), waveform: true };
    return { name, points: mine.filter((r) => series(r, name) !== null).map((r) => [Date.parse(r.event_time), r[name]]).sort((a, b) => a[0] - b[0]) };
  }).filter((l) => l.points.length);
}

// The next 1, 2 or 5 times a power of ten.
function roundStep(least) {
  const power = 10 ** Math.floor(Math.log10(least));
  return power * [1, 2, 5, 10].find((m) => m * power >= least);
}

function draw() {
  const canvas = $("chart");
  const ratio = window.devicePixelRatio || 1;
  const width = canvas.clientWidth, height = canvas.clientHeight;
  canvas.width = width * ratio;
  canvas.height = height * ratio;
  const g = canvas.getContext("2d");
  g.scale(ratio, ratio);
  g.font = "12px system-ui, sans-serif";
  const style = getComputedStyle(document.body);
  const all = newest ? lines() : [];
  if (!all.length) {
    g.fillStyle = style.getPropertyValue("--soft");
    g.fillText("No readings yet. Try: headrace simulate", 12, 24);
    return;
  }
  const xs = all.flatMap((l) => l.points.map((p) => p[0])), ys = all.flatMap((l) => l.points.map((p) => p[1]));
  const least = (v) => v.reduce((a, b) => Math.min(a, b)), most = (v) => v.reduce((a, b) => Math.max(a, b));
  let [x0, x1, y0, y1] = [least(xs), most(xs), least(ys), most(ys)];
  if (x0 === x1) x1 = x0 + 1;
  const pad = (y1 - y0) * 0.06 || 1;
  y0 -= pad; y1 += pad;
  const left = 62, bottom = 24, top = 22;
  const X = (x) => left + (x - x0) / (x1 - x0) * (width - left - 10);
  const Y = (y) => top + (y1 - y) / (y1 - y0) * (height - top - bottom);
  g.strokeStyle = style.getPropertyValue("--line");
  g.fillStyle = style.getPropertyValue("--soft");
  g.textAlign = "right";
  const step = roundStep((y1 - y0) / 5);
  for (let k = Math.ceil(y0 / step); k * step <= y1; k++) {
    const y = Number((k * step).toPrecision(12));
    g.beginPath(); g.moveTo(left, Y(y)); g.lineTo(width - 10, Y(y)); g.stroke();
    g.fillText(y, left - 6, Y(y) + 4);
  }
  const axis = (x) => all[0].waveform ? `sample ${whole.format(Math.round(x))}` : new Date(x).toISOString().slice(0, 23).replace("T", " ");
  g.textAlign = "left"; g.fillText(axis(x0), left, height - 6);
  g.textAlign = "right"; g.fillText(axis(x1), width - 10, height - 6);
  g.textAlign = "left";
  let legend = left;
  all.forEach((line, i) => {
    g.strokeStyle = g.fillStyle = COLOURS[i % COLOURS.length];
    g.lineWidth = 1.4;
    g.beginPath();
    line.points.forEach(([x, y], k) => (k ? g.lineTo(X(x), Y(y)) : g.moveTo(X(x), Y(y))));
    g.stroke();
    if (line.points.length < 60) line.points.forEach(([x, y]) => { g.beginPath(); g.arc(X(x), Y(y), 2, 0, 7); g.fill(); });
    g.fillText(line.name, legend, 14);
    legend += g.measureText(line.name).width + 18;
  });
}

function cell(value) {
  if (value === null || value === undefined) return "";
  if (Array.isArray(value)) return `${whole.format(value.length)} values`;
  return typeof value === "number" ? String(Number(value.toPrecision(7))) : String(value);
}

function showTable() {
  const rows = newest.readings.filter((r) => r.device_id === chosen.device).slice(-5).reverse();
  const names = newest.fields.map((f) => f.name).filter((n) => rows.some((r) => cell(r[n]) !== ""));
  const head = make("tr");
  names.forEach((n) => head.append(make("th", n)));
  $("newest").tHead.replaceChildren(head);
  $("newest").tBodies[0].replaceChildren(...rows.map((r) => {
    const row = make("tr");
    names.forEach((n) => row.append(make("td", cell(r[n]))));
    return row;
  }));
}

async function showNewest(status) {
  const streams = Object.keys(status.streams).filter((n) => !n.startsWith("("));
  if (!streams.length) return;
  if (!streams.includes(chosen.stream)) {
    const busiest = (n) => status.streams[n].bridge_rate || status.streams[n].bridge || 0;
    chosen.stream = streams.reduce((a, b) => (busiest(b) > busiest(a) ? b : a));
  }
  options($("stream"), streams, chosen.stream);
  newest = await get(`/api/newest?stream=${encodeURIComponent(chosen.stream)}`);
  const devices = [...new Set(newest.readings.map((r) => r.device_id))].sort();
  if (!devices.includes(chosen.device)) chosen.device = devices[0] || null;
  options($("device"), devices, chosen.device);
  chooseFields(newest.fields);
  $("note").textContent = newest.readings.length
    ? `The newest ${whole.format(newest.readings.length)} readings of ${chosen.stream}.clean; times are UTC.`
    : `${chosen.stream}.clean is empty so far.`;
  draw();
  showTable();
}

async function turn() {
  try {
    const status = await get("/api/status");
    const broken = Object.entries(status.services).filter(([, s]) => tone(s.state) === "bad").map(([n]) => n);
    $("summary").textContent = broken.length ? `${status.state}; not running: ${broken.join(", ")}` : status.state;
    $("summary").className = broken.length ? "bad" : tone(status.state);
    $("folder").textContent = status.folder;
    showFlow(status);
    showStreams(status);
    await showNewest(status);
  } catch (e) {
    $("summary").textContent = e instanceof TypeError ? "The stack does not answer: is it down? headrace up starts it." : e.message;
    $("summary").className = "bad";
  }
  setTimeout(turn, document.hidden ? 5000 : 1000);
}

$("stream").addEventListener("change", (e) => { chosen = { stream: e.target.value, device: null, fields: null }; });
$("device").addEventListener("change", (e) => { chosen.device = e.target.value; if (newest) { draw(); showTable(); } });
window.addEventListener("resize", draw);
turn();
