// Renders the figures that the server has shaped, every two seconds, and sends orders.
//
// All names, commands and stacks become text nodes, never markup. What has not changed stays the
// same element, so that the focus, open stacks and marked text outlive a refresh.

const EVERY = 2000; // milliseconds
const PATIENCE = 15000;
const LINGER = 30000; // how long it says that an order has been carried out
const SVG = "http://www.w3.org/2000/svg";
const ORDERS = {
  drain: {
    label: "Drain",
    text: "Idle connections close now, those in use when they are given back. New ones take their place. Nobody waits for it.",
  },
  pause: {
    label: "Pause",
    text: "Whoever asks for a connection waits until you resume, or until the pool’s timeout. Connections close as they are given back.",
  },
  resume: { label: "Resume" },
  resize: {
    label: "Resize",
    text: "The sizes hold until the processes end; what holds after that is in the settings.",
  },
};
const OWN =
  "This page needs this pool itself. While it is paused the page stands still, so you cannot resume here, only with a command: ";

const root = document.getElementById("carpool");
const view = root.querySelector(".carpool-pools");
const dialog = root.querySelector("dialog");
const mayOrder = "mayOrder" in root.dataset;
let pools = new Map(); // by name, as the server told them last
let given = null; // the order whose execution is being told
let stopped = ""; // the command that resumes the pool that was paused here and serves this page
let timer = null;
let leaving = null; // the timer of news that will go
let asking = false;
let over = false; // the session has ended

// Elements

function make(name, attributes = {}, ...children) {
  const shape = ["svg", "rect", "path", "line"].includes(name);
  const made = shape ? document.createElementNS(SVG, name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== null && value !== false) made.setAttribute(key, value);
  }
  made.append(...children.flat().filter((child) => child !== null));
  return made;
}

// Make `old` look like `fresh`, element by element; those with a data-key are known by it.
function renew(old, fresh) {
  if (old.nodeType === Node.TEXT_NODE) {
    if (old.data !== fresh.data) old.data = fresh.data;
    return;
  }
  for (const { name } of [...old.attributes]) {
    const users = old.nodeName === "DETAILS" && name === "open";
    if (!users && !fresh.hasAttribute(name)) old.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  renewChildren(old, fresh);
}

function renewChildren(old, fresh) {
  const key = (node) => node.dataset?.key;
  const wanted = new Set([...fresh.children].map(key));
  for (const child of [...old.children]) if (!wanted.has(key(child))) child.remove();
  const kept = new Map([...old.children].filter(key).map((child) => [key(child), child]));
  let place = old.firstChild;
  for (const child of [...fresh.childNodes]) {
    let same = key(child) ? kept.get(key(child)) : place;
    if (!same || same.nodeName !== child.nodeName || key(same) !== key(child)) same = null;
    if (same === null) {
      old.insertBefore(child, place);
    } else {
      if (same === place) place = place.nextSibling;
      else old.insertBefore(same, place);
      renew(same, child);
    }
  }
  while (place) {
    const next = place.nextSibling;
    place.remove();
    place = next;
  }
}

// Rendering

function renderPool(pool) {
  return make(
    "section",
    { class: "carpool-pool", "data-key": pool.name, "aria-label": `Pool ${pool.title}` },
    make("header", {}, renderTitle(pool), mayOrder ? renderButtons(pool) : null),
    pool.error ? make("p", { class: "carpool-trouble" }, `Last connect failed: ${pool.error}`) : null,
    make("dl", { class: "carpool-now" }, pool.now.map(renderNow)),
    renderBar(pool.bar),
    make("div", { class: "carpool-lines" }, pool.lines.map(renderLine)),
    make("div", { class: "carpool-small" }, pool.small.map(renderTable)),
    make("div", { class: "carpool-large" }, pool.large.map(renderTable)),
  );
}

function renderTitle(pool) {
  const paused = pool.paused ? make("strong", { class: "carpool-paused" }, "PAUSED") : null;
  return make(
    "div",
    {},
    make("h2", {}, pool.title, paused),
    pool.title === pool.name ? null : make("p", { class: "carpool-name" }, pool.name),
    make("p", { class: "carpool-facts" }, pool.facts.join(" · ")),
  );
}

function renderButtons(pool) {
  // The button to resume is the one to pause, renamed, so that it keeps the focus.
  const verbs = { drain: "drain", pause: pool.paused ? "resume" : "pause", resize: "resize" };
  const button = ([key, verb]) =>
    make("button", { type: "button", class: "button", "data-key": key, "data-verb": verb,
      "aria-label": `${ORDERS[verb].label} ${pool.title}` }, ORDERS[verb].label);
  return make("div", { class: "carpool-buttons" }, Object.entries(verbs).map(button));
}

function renderNow({ name, value, of, bad }) {
  const small = of ? make("small", {}, ` ${of}`) : null;
  return make(
    "div",
    { class: bad ? "carpool-bad" : null },
    make("dt", {}, name),
    make("dd", {}, value, small),
  );
}

function renderBar({ label, parts }) {
  let x = 0;
  const piece = ({ state, percent }) => {
    const made = make("rect", { class: `carpool-${state}`, x: `${x}%`, width: `${percent}%`, height: "100%" });
    x += percent;
    return made;
  };
  const legend = ({ state, count }) =>
    make("li", { class: count === "0" ? "carpool-none" : null },
      make("svg", { "aria-hidden": "true" }, make("rect", { class: `carpool-${state}`, width: "100%", height: "100%" })),
      `${state === "leased" ? "in use" : state} `, make("b", {}, count));
  return make("div", { class: "carpool-bar" },
    make("svg", { role: "img", "aria-label": label }, parts.map(piece)),
    make("ul", {}, parts.map(legend)));
}

function renderLine({ name, values, peak }) {
  const most = Math.max(1, ...values);
  const points = values.map((value, second) => `${second},${(20 - (20 * value) / most).toFixed(2)}`);
  const last = values.length - 1;
  return make("figure", {},
    make("figcaption", {}, `${name}, last 60 seconds`, make("small", {}, ` at most ${peak}`)),
    make("svg", { viewBox: `0 -1 ${last} 22`, preserveAspectRatio: "none", role: "img",
      "aria-label": `${name}: ${values[last]} now, at most ${peak} in the last 60 seconds` },
      make("path", { class: "carpool-area", d: `M0,20L${points.join("L")}L${last},20Z` }),
      make("path", { class: "carpool-line", d: `M${points.join("L")}` })));
}

function renderTable({ caption, head, rows, empty }) {
  const titled = head.length > 2 && rows.length;
  const title = ([text, kind]) => make("th", { scope: "col", class: `carpool-${kind}` }, text);
  const row = ({ key, cells }) =>
    make("tr", { "data-key": key }, cells.map((cell, number) => renderCell(cell, head[number][1], number)));
  const body = rows.length
    ? rows.map(row)
    : make("tr", {}, make("td", { class: "carpool-empty", colspan: head.length }, empty));
  return make("div", { class: "carpool-table", "data-key": caption },
    make("table", {},
      make("caption", {}, caption),
      make("thead", { class: titled ? null : "visually-hidden" }, make("tr", {}, head.map(title))),
      make("tbody", {}, body)));
}

function renderCell(cell, kind, number) {
  const attributes = { class: `carpool-${kind}` };
  if (cell.stacks) {
    const parts = cell.stacks.map(([title, text]) => [make("h4", {}, title), make("pre", { tabindex: "0" }, text)]);
    return make("td", attributes, make("details", {}, make("summary", {}, "show"), parts.flat()));
  }
  return number ? make("td", attributes, cell) : make("th", { scope: "row", ...attributes }, cell);
}

// Asking

function say(element, ...content) {
  const text = content.map((each) => each.textContent ?? each).join("");
  if (element.textContent !== text) element.replaceChildren(...content);
}

const trouble = root.querySelector("[role=alert]");
const news = root.querySelector("[role=status]");

function inform(text, done = false) {
  clearTimeout(leaving);
  say(news, text);
  if (done) leaving = setTimeout(say, LINGER, news);
}

function fail(...content) {
  view.classList.add("carpool-old");
  say(trouble, ...content);
}

function end() {
  over = true;
  fail("Your session has ended. ", make("a", { href: "" }, "Log in again"));
}

// Return what the server says; an Error has its words, or says that there are none.
async function ask(url, { headers, ...options } = {}) {
  let response;
  try {
    response = await fetch(url, {
      redirect: "manual", // to the login page
      signal: AbortSignal.timeout(PATIENCE),
      headers: { Accept: "application/json", ...headers },
      ...options,
    });
  } catch {
    throw new Error("The server does not answer.");
  }
  if (response.type === "opaqueredirect") {
    end();
    return null;
  }
  const answer = await response.json().catch(() => ({}));
  if (response.ok && Object.keys(answer).length) return answer;
  throw new Error(answer.error ?? `The server answers with an error (${response.status}).`);
}

async function refresh() {
  clearTimeout(timer);
  if (asking || over || document.hidden) return;
  asking = true;
  try {
    const page = await ask(root.dataset.figures);
    if (page) render(page);
  } catch (error) {
    const command = stopped && make("code", {}, stopped);
    const way = stopped ? [" This page needs the paused pool: ", command, " ends the pause."] : [];
    fail(`${error.message} These figures are old; asking again every ${EVERY / 1000} seconds.`, ...way);
  } finally {
    asking = false;
    if (!over && !document.hidden) timer = setTimeout(refresh, EVERY);
  }
}

function render(page) {
  pools = new Map(page.pools.map((pool) => [pool.name, pool]));
  if (view.classList.contains("carpool-old")) stopped = ""; // somebody has resumed
  view.classList.remove("carpool-old");
  say(trouble, page.faults.join(" "));
  say(root.querySelector(".carpool-summary"), page.summary);
  renew(view, make("div", { class: view.className }, page.pools.map(renderPool)));
  tell();
}

// Ordering

function open(verb, pool) {
  const part = (selector) => dialog.querySelector(selector);
  const { label, text } = ORDERS[verb];
  part("h2").textContent = `${label} ${pool.title}?`;
  part("#carpool-dialog-text").textContent = text;
  const warned = verb === "pause" && pool.way_out;
  part(".carpool-warning").hidden = !warned;
  part(".carpool-warning").replaceChildren(OWN, make("code", {}, pool.way_out));
  const sized = verb === "resize";
  part(".carpool-sizes").hidden = !sized;
  dialog.querySelectorAll("input[type=number]").forEach((input, number) => {
    input.disabled = !sized;
    input.value = pool.sizes[number];
  });
  part("[value=ok]").textContent = label;
  part("[data-cancel]").autofocus = !sized;
  dialog.dataset.verb = verb;
  dialog.dataset.pool = pool.name;
  dialog.returnValue = "";
  dialog.showModal();
}

async function order(verb, pool, sizes = {}) {
  const { label } = ORDERS[verb];
  const body = new URLSearchParams({ verb, pool: pool.name, ...sizes });
  const token = dialog.querySelector("[name=csrfmiddlewaretoken]").value;
  given = null;
  if (verb === "pause" && pool.way_out) stopped = pool.way_out;
  inform(`${label} ${pool.title}: asking …`);
  try {
    const answer = await ask(root.dataset.order, { method: "POST", body, headers: { "X-CSRFToken": token } });
    if (answer) given = { ...answer, title: `${label} ${pool.title}` };
    tell();
    refresh();
  } catch (error) {
    inform(`${label} ${pool.title}: ${error.message}`);
  }
}

// Tell how far an order has come.
function tell() {
  if (!given) return;
  const obeyed = pools.get(given.pool)?.obeyed ?? [];
  const done = obeyed.filter((number) => number >= given.number).length;
  const broker = given.number === 0;
  const finished = broker || done === obeyed.length;
  const have = obeyed.length === 1 ? "process has" : "processes have";
  const who = broker ? "the broker has" : `${done} of ${obeyed.length} ${have}`;
  inform(`${given.title}: ${who} carried it out.`, finished);
  if (finished) given = null;
}

view.addEventListener("click", (event) => {
  const button = event.target.closest(".carpool-buttons button");
  const pool = button && pools.get(button.closest("section").dataset.key);
  if (!pool) return;
  if (button.dataset.verb === "resume") order("resume", pool);
  else open(button.dataset.verb, pool);
});
if (dialog) {
  dialog.querySelector("[data-cancel]").addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => {
    const pool = pools.get(dialog.dataset.pool);
    if (dialog.returnValue !== "ok" || !pool) return;
    const inputs = [...dialog.querySelectorAll("input[type=number]:enabled")];
    order(dialog.dataset.verb, pool, Object.fromEntries(inputs.map(({ name, value }) => [name, value])));
  });
}
document.addEventListener("visibilitychange", refresh);
refresh();
