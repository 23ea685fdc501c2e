"use strict";
const mail = JSON.parse(document.getElementById("mail").textContent);
const by = (id) => document.getElementById(id);
const LANE = 11, LEFT = 33, ROW = 1.9;  // em
let zoom = 1, chosen = null;

function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;  // never as markup
  return made;
}

function choices(select, values) {
  for (const value of values) {
    const option = element("option", "", value);
    option.value = value;
    by(select).append(option);
  }
}

function wanted(row) {
  const actor = by("actor").value, type = by("type").value, peer = by("peer").value;
  const text = by("text").value.trim().toLowerCase();
  if (actor && mail.lanes[row.from] !== actor && mail.lanes[row.to] !== actor) return false;
  if (type && row.type !== type) return false;
  if (peer && !row.peers.includes(peer)) return false;
  return !text || row.searched.includes(text);
}

function draw() {
  const rows = mail.rows.filter(wanted);
  const used = [...new Set(rows.flatMap((row) => [row.from, row.to]))].sort((a, b) => a - b);
  const at = new Map(used.map((lane, place) => [lane, LEFT + place * LANE]));
  const width = LEFT + used.length * LANE + 30;
  by("lanes").replaceChildren(...used.map((lane) => {
    const head = element("span", "", mail.lanes[lane]);
    head.style.left = at.get(lane) + "em";
    head.title = mail.lanes[lane];
    return head;
  }));
  const lines = used.map((lane) => {
    const line = element("div", "lane");
    line.style.left = at.get(lane) + "em";
    return line;
  });
  by("rows").replaceChildren(...lines, ...rows.map((row, place) => line(row, place, at)));
  by("rows").style.height = rows.length * ROW + "em";
  by("board").style.width = width + "em";
  by("count").textContent = rows.length + " of " + mail.rows.length + " messages";
}

function line(row, place, at) {
  const made = element("div", row.kind === "delivered" ? "row" : "row bad");
  made.style.top = place * ROW + "em";
  const head = element("div", "head");
  head.append(element("time", "", row.time), "  ", element("b", "", row.type));
  head.title = row.type;
  made.append(head);
  const from = at.get(row.from), to = at.get(row.to);
  if (from === to) {
    const dot = element("div", "dot");
    dot.style.left = to + "em";
    made.append(dot);
  } else {
    const arrow = element("div", to > from ? "arrow right" : "arrow left");
    arrow.style.left = Math.min(from, to) + "em";
    arrow.style.width = Math.abs(to - from) + "em";
    made.append(arrow);
  }
  const told = element("div", "told");
  told.style.left = Math.max(from, to) + 0.6 + "em";
  const state = row.before === row.after ? "" : "  " + row.before + " \u2192 " + row.after;
  const lost = row.kind === "delivered" ? "" : "  " + row.kind.replace("_", " ") + ": " + row.reason;
  told.textContent = row.text + state + lost;
  made.append(told);
  made.addEventListener("click", () => show(row, made));
  if (row === chosen) made.classList.add("chosen");
  return made;
}

function show(row, at) {
  document.querySelectorAll(".chosen").forEach((one) => one.classList.remove("chosen"));
  at.classList.add("chosen");
  chosen = row;
  const about = {
    time: row.time, from: mail.lanes[row.from], to: mail.lanes[row.to], process: row.process, kind: row.kind,
    reason: row.reason, before: row.before, after: row.after, id: row.id, cause: row.cause, "took ms": row.ms,
  };
  const detail = by("detail");
  detail.querySelector("h2").textContent = row.type;
  detail.querySelector("table").replaceChildren(
    ...Object.entries(row.fields).map(([name, value]) => pair(name, value)),
    ...Object.entries(about).filter(([, value]) => value !== "").map(([name, value]) => pair(name, value)));
  open(true);
  const main = document.querySelector("main"), drawn = at.querySelector(".arrow, .dot");
  const left = drawn.offsetLeft - at.querySelector(".head").offsetWidth;  // what the sticky column leaves to see
  if (left < main.scrollLeft || left > main.scrollLeft + main.clientWidth / 2) main.scrollLeft = left - 40;
}

function open(wanted) {
  const detail = by("detail");
  detail.hidden = !wanted;
  document.querySelector("main").style.marginRight = wanted ? detail.offsetWidth + "px" : "";
}

function pair(name, value) {
  const made = element("tr");
  const text = value !== null && typeof value === "object" ? JSON.stringify(value, null, 1) : String(value ?? "-");
  made.append(element("td", "", name), element("td", "", text));
  return made;
}

function scale(factor) {
  zoom = Math.min(2.5, Math.max(0.4, zoom * factor));
  document.documentElement.style.setProperty("--zoom", zoom);
}

for (const row of mail.rows)
  row.searched = [row.type, row.text, row.reason, row.id, JSON.stringify(row.fields)].join(" ").toLowerCase();
by("title").textContent = mail.title;
choices("actor", [...mail.lanes].sort());
choices("type", [...new Set(mail.rows.map((row) => row.type))].sort());
choices("peer", mail.peers);
for (const id of ["actor", "type", "peer"]) by(id).addEventListener("change", draw);
by("text").addEventListener("input", draw);
by("larger").addEventListener("click", () => scale(1.25));
by("smaller").addEventListener("click", () => scale(0.8));
by("close").addEventListener("click", () => open(false));
draw();
