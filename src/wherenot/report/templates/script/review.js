/* A card per prior: filters, order, keys, and one prior large. */

const list = document.getElementById("cards");
const wanted = document.getElementById("filters");
const large = document.getElementById("large");
const SAID = { [ACCEPTED]: "accepted", [REJECTED]: "rejected" };
const ORDERS = {
  doubtful: [(sample) => sample.score, 1],
  sure: [(sample) => sample.score, -1],
  large: [(sample) => sample.area, -1],
  small: [(sample) => sample.area, 1],
  name: null,
};
const cards = index.samples.map((_, number) => card(number));
let found = [];
let current = null;
let lastLarge = null;

const seen = new IntersectionObserver((entries) => {
  for (const entry of entries.filter((each) => each.isIntersecting)) {
    seen.unobserve(entry.target);
    entry.target.draw();
  }
}, { rootMargin: "600px" });

/* The image, dark where evidence may not lie, with the outline of where it may. */
function picture(number, label) {
  const data = sampleData(number);
  const { uri, tiny } = data.image;
  const size = data.width * data.height;
  data.allowedMap ||= data.allowed && unpackMap(data.allowed, size);
  data.forbiddenMap ||= data.forbidden && unpackMap(data.forbidden, size);
  const lines = drawing("svg", { viewBox: `0 0 ${data.width} ${data.height}`, "aria-hidden": "true", class: "proposal" });
  for (const [kind, map] of [["prior", data.allowedMap], ["forbidden", data.forbiddenMap]]) {
    if (!map) continue;
    const inside = (place) => map[place] === 1;
    if (kind === "prior") lines.append(drawing("path", { d: filling(data, (place) => !inside(place)), class: "outside" }));
    const path = outline(data, inside);
    lines.append(drawing("path", { d: path, class: "line halo" }), drawing("path", { d: path, class: `line ${kind}` }));
  }
  const root = element("span", { class: "stage", role: "img", "aria-label": label },
    element("img", { src: uri, alt: "", decoding: "async", class: tiny ? "pixels" : null }), lines);
  root.style.aspectRatio = `${data.width} / ${data.height}`;
  root.style.setProperty("--ratio", data.width / data.height);
  root.classList.toggle("tall", data.height > data.width);
  return root;
}

function described(sample) {
  return `${sample.id}: ${sample.label}, prior by ${sample.origin}`;
}

function facts(sample) {
  const score = sample.score === null ? "no score" : `score ${percent(sample.score)}`;
  const area = sample.area < 0.005 ? "less than 1%" : percent(sample.area);
  return [
    element("span", { class: "name" }, ...sample.id.split(/(?<=[/_])/).flatMap((each) => [each, element("wbr")])),
    element("span", {}, "class ", element("b", {}, sample.label)),
    element("span", { class: "quiet" }, `${score} · ${area} of the image · ${sample.split}`),
    element("span", { class: "quiet" }, sample.origin),
    sample.prompt === null ? null : element("span", { class: "quiet" }, `asked for “${sample.prompt}”`),
  ].filter((each) => each !== null);
}

function verdicts(number) {
  const button = (verdict, text, key) => {
    const made = element("button", { type: "button", class: verdict, "data-verdict": verdict, "aria-pressed": "false", "aria-keyshortcuts": key }, text);
    made.addEventListener("click", (event) => { event.stopPropagation(); decideOn(number(), verdict); });
    return made;
  };
  return element("span", { class: "verdicts", role: "group", "aria-label": "decision" },
    button(ACCEPTED, "✓ Accept", "a"), button(REJECTED, "✗ Reject", "r"));
}

function card(number) {
  const sample = index.samples[number];
  const holder = element("span", { class: "holder" });
  holder.draw = () => holder.replaceChildren(picture(number, `${described(sample)}, outlined`));
  const root = element("li", { class: "card", tabindex: "-1", "data-number": number }, holder, ...facts(sample),
    element("span", { class: "said badge", hidden: true }), verdicts(() => number));
  root.holder = holder;
  root.addEventListener("focus", () => choose(number, false));
  holder.addEventListener("click", () => { choose(number); openLarge(); });
  return root;
}

function showDecision(number) {
  const verdict = decisions.get(number);
  const roots = [cards[number]];
  if (large.open && current === number) roots.push(large);
  for (const root of roots) {
    root.dataset.decision = verdict || "";
    for (const button of root.querySelectorAll("[data-verdict]")) {
      button.setAttribute("aria-pressed", String(button.dataset.verdict === verdict));
    }
    const said = root.querySelector(".said");
    said.hidden = !verdict;
    said.textContent = verdict ? SAID[verdict] : "";
  }
}

function showCounts() {
  const accepted = [...decisions.values()].filter((each) => each === ACCEPTED).length;
  const rejected = decisions.size - accepted, all = index.samples.length;
  for (const [name, count] of [["accepted", accepted], ["rejected", rejected], ["undecided", all - decisions.size]]) {
    document.getElementById(`count-${name}`).textContent = count;
  }
  const done = document.getElementById("done");
  done.style.setProperty("--accepted", accepted / all);
  done.style.setProperty("--rejected", rejected / all);
  for (const button of document.querySelectorAll("button.download")) {
    button.disabled = decisions.size === 0;
    button.textContent = decisions.size ? `Download review.jsonl, ${decisions.size} decided` : "Download review.jsonl";
  }
  document.getElementById("undo").disabled = history.length === 0;
  document.getElementById("kept").textContent = decisions.size && !decisionsKept
    ? "This browser keeps nothing for this page: download before you close it." : "";
}

function passes(sample, number, want) {
  const text = [sample.id, sample.group, sample.label, sample.prompt, sample.origin].join("\n").toLowerCase();
  const state = decisions.get(number) || "undecided";
  return (!want.state || want.state === state)
    && ["label", "origin", "split"].every((name) => !want[name] || sample[name] === want[name])
    && (want.score === 1 || (sample.score !== null && sample.score <= want.score))
    && text.includes((want.search || "").trim().toLowerCase());
}

/* What passes stays until the filters change: a card does not run away from whoever decides on it. */
function refresh() {
  const given = Object.fromEntries(new FormData(wanted));
  const want = { ...given, score: Number(given.score) / 100 };
  wanted.elements.score.nextElementSibling.textContent = percent(want.score);
  found = index.samples.flatMap((sample, number) => (passes(sample, number, want) ? [number] : []));
  const order = ORDERS[want.order];
  const last = order && Infinity * order[1];
  const key = (number) => order[0](index.samples[number]) ?? last;
  found.sort((one, other) => (order && key(one) !== key(other) ? order[1] * (key(one) - key(other)) : 0)
    || (order ? one - other : index.samples[one].id.localeCompare(index.samples[other].id, undefined, { numeric: true })));
  document.getElementById("found").textContent = `${found.length} of ${index.samples.length} priors`;
  seen.disconnect();
  list.replaceChildren(...found.map((number) => cards[number]));
  for (const number of found.filter((each) => !cards[each].holder.hasChildNodes())) seen.observe(cards[number].holder);
  if (!found.includes(current)) current = null;
  for (const number of found) cards[number].tabIndex = number === (current ?? found[0]) ? 0 : -1;
}

/* Make a card the one that the keys are for. */
function choose(number, focused = true) {
  if (current !== null) {
    cards[current].tabIndex = -1;
    cards[current].classList.remove("chosen");
  }
  current = number;
  cards[number].tabIndex = 0;
  cards[number].classList.add("chosen");
  if (large.open) fillLarge();
  else if (focused) {
    cards[number].focus({ preventScroll: true });
    cards[number].scrollIntoView({ block: "nearest" });
  }
}

function decideOn(number, verdict) {
  decide(number, verdict);
  if (number !== current) choose(number, false);
}

function decideAndGo(verdict) {
  if (current === null) return;
  decide(current, verdict);
  if (decisions.has(current)) step(1);
}

function step(by) {
  const at = current === null ? -Math.sign(by) : found.indexOf(current);
  const next = found[Math.min(found.length - 1, Math.max(0, current === null ? 0 : at + by))];
  if (next !== undefined) choose(next);
}

function perRow() {
  const tops = [...list.children].slice(0, 40).map((each) => each.offsetTop);
  return Math.max(1, tops.filter((top) => top === tops[0]).length);
}

function openLarge() {
  if (current === null) return;
  large.showModal();
  fillLarge();
}

function fillLarge() {
  lastLarge = current;
  const sample = index.samples[current];
  document.getElementById("large-picture").replaceChildren(picture(current, `${described(sample)}, outlined, large`));
  document.getElementById("large-facts").replaceChildren(...facts(sample));
  document.getElementById("large-place").textContent = `${found.indexOf(current) + 1} of ${found.length}`;
  showDecision(current);
}

const KEYS = {
  a: () => decideAndGo(ACCEPTED),
  r: () => decideAndGo(REJECTED),
  u: () => { const number = undo(); if (number !== undefined && found.includes(number)) choose(number); },
  o: () => { wanted.elements.outlines.click(); },
  ArrowLeft: () => step(-1),
  ArrowRight: () => step(1),
  ArrowUp: () => step(large.open ? -1 : -perRow()),
  ArrowDown: () => step(large.open ? 1 : perRow()),
};

addEventListener("keydown", (event) => {
  const typing = event.target.matches("input:not([type=checkbox]), select");
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (key === "Enter" && event.target.matches(".card")) {
    event.preventDefault();
    openLarge();
  } else if (KEYS[key]) {
    event.preventDefault();
    KEYS[key]();
  }
});

/* Fill a list of choices; one that would leave nothing to choose is not shown. */
for (const name of ["label", "origin", "split"]) {
  const select = wanted.elements[name];
  const names = [...new Set(index.samples.map((sample) => sample[name]))]
    .sort((one, other) => one.localeCompare(other, undefined, { numeric: true }));
  select.append(...names.map((value) => element("option", { value }, value)));
  select.closest("label").hidden = names.length < 2;
}
const scored = index.samples.some((sample) => sample.score !== null);
wanted.elements.score.closest("label").hidden = !scored;
document.getElementById("large-verdicts").replaceWith(verdicts(() => current));
document.getElementById("undo").addEventListener("click", KEYS.u);
document.getElementById("large-close").addEventListener("click", () => large.close());
document.getElementById("large-previous").addEventListener("click", () => step(-1));
document.getElementById("large-next").addEventListener("click", () => step(1));
large.addEventListener("click", (event) => { if (event.target === large) large.close(); });
large.addEventListener("close", () => choose(lastLarge)); // the browser puts the focus back on the one that was opened
for (const button of document.querySelectorAll("button.download")) button.addEventListener("click", downloadDecisions);
wanted.addEventListener("input", (event) => {
  document.body.classList.toggle("bare", !wanted.elements.outlines.checked);
  if (event.target !== wanted.elements.outlines) refresh();
});
wanted.addEventListener("submit", (event) => event.preventDefault());
wanted.addEventListener("reset", () => setTimeout(() => { document.body.classList.remove("bare"); refresh(); }));
document.addEventListener("decisions", (event) => { showDecision(event.detail); showCounts(); });
addEventListener("beforeprint", () => {
  for (const { holder } of cards) if (!holder.hasChildNodes()) holder.draw();
});
restoreDecisions();
document.getElementById("work").hidden = false;
refresh();
for (const number of decisions.keys()) showDecision(number);
showCounts();
