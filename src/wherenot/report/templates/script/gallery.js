/* All searched samples: right or wrong by on or off the prior, filters, order, search, and a tile for each. */

const TILES = 24;
const gallery = document.getElementById("samples");
const tiles = document.getElementById("tiles");
const more = document.getElementById("more");
const wanted = document.getElementById("filters");
const QUADRANTS = { "right-on": [true, true], "right-off": [true, false], "wrong-on": [false, true], "wrong-off": [false, false] };
const ORDERS = {
  data: null,
  off: [(verdict) => verdict.coverage, 1],
  on: [(verdict) => verdict.coverage, -1],
  sure: [(verdict) => verdict.sure, -1],
  unsure: [(verdict) => verdict.sure, 1],
};
let quadrant = null;
let found = [];
let shownTiles = TILES;

const seen = new IntersectionObserver((entries) => {
  for (const entry of entries.filter((each) => each.isIntersecting)) {
    seen.unobserve(entry.target);
    entry.target.draw();
  }
}, { rootMargin: "300px" });

function quadrantOf(verdict) {
  if (!verdict || verdict.right === null || verdict.hit === null) return "unknown";
  return Object.keys(QUADRANTS).find((name) => QUADRANTS[name][0] === verdict.right && QUADRANTS[name][1] === verdict.hit);
}

function values() {
  const given = Object.fromEntries(new FormData(wanted));
  return { run: 0, ...given, sure: Number(given.sure) / 100, coverage: Number(given.coverage) / 100 };
}

/* Whether a sample passes every filter but the quadrant. */
function passes(sample, number, verdict, want) {
  const text = [sample.id, sample.group, sample.label, sample.prompt, verdict.says].join("\n").toLowerCase();
  return ["split", "group", "label"].every((name) => !want[name] || (sample[name] ?? "") === want[name])
    && (want.sure === 0 || (verdict.sure ?? -1) >= want.sure)
    && (want.coverage === 1 || (verdict.coverage ?? 2) <= want.coverage)
    && (!want.marked || isMarked(number))
    && text.includes((want.search || "").trim().toLowerCase());
}

function refresh() {
  const want = values();
  const place = Number(want.run);
  const numbers = index.samples.flatMap((sample, number) =>
    (sample.runs[place] && passes(sample, number, sample.runs[place], want) ? [number] : []));
  const verdict = (number) => index.samples[number].runs[place];
  countQuadrants(numbers.map((number) => quadrantOf(verdict(number))));
  found = numbers.filter((number) => quadrant === null || quadrantOf(verdict(number)) === quadrant);
  const order = ORDERS[want.order];
  if (order) {
    const key = (number) => order[0](verdict(number)) ?? Infinity * order[1];
    found.sort((one, other) => order[1] * (key(one) - key(other)) || one - other);
  }
  for (const name of ["sure", "coverage"]) wanted.elements[name].nextElementSibling.textContent = percent(want[name]);
  document.getElementById("found").textContent = `${found.length} of ${index.samples.length} samples`;
  shownTiles = TILES;
  drawTiles(place);
}

function countQuadrants(names) {
  for (const button of gallery.querySelectorAll("button[data-quadrant]")) {
    const name = button.dataset.quadrant, count = names.filter((each) => each === name).length;
    button.querySelector("b").textContent = count;
    button.querySelector("i").style.setProperty("--share", names.length ? count / names.length : 0);
    button.setAttribute("aria-pressed", String(quadrant === name));
    if (name === "unknown") button.hidden = count === 0 && quadrant !== name;
  }
}

function drawTiles(place) {
  seen.disconnect();
  tiles.replaceChildren(...found.slice(0, shownTiles).map((number) => tile(number, place)));
  more.hidden = found.length <= shownTiles;
  more.textContent = `Show ${Math.min(TILES, found.length - shownTiles)} more`;
}

function tile(number, place) {
  const sample = index.samples[number], verdict = sample.runs[place];
  const holder = element("span", { class: "holder" });
  holder.draw = () => drawTile(holder, number, place);
  const button = element("button", { type: "button", class: "tile", "data-number": number },
    holder,
    element("span", { class: "name" }, ...sample.id.split(/(?<=[/_])/).flatMap((each) => [each, element("wbr")])),
    verdictLine(verdict, true),
    element("span", { class: "badge marked", hidden: !isMarked(number) }, "marked"));
  button.addEventListener("click", () => openSample(number, found));
  seen.observe(holder);
  return element("li", {}, button);
}

function drawTile(holder, number, place) {
  const data = sampleData(number), run = data.runs[place];
  if (run === null || run.problem) {
    holder.textContent = run ? run.problem : "no picture was kept";
    return;
  }
  const stage = new Stage(data, run, "");
  stage.root.setAttribute("aria-hidden", "true");
  stage.root.classList.toggle("tall", stage.grid.height > stage.grid.width);
  stage.showEvidence();
  stage.drawLines(stage.ofRegion(run.order[0], "top"));
  holder.replaceChildren(stage.root);
}

function showMore() {
  const place = Number(values().run), before = shownTiles;
  shownTiles += TILES;
  tiles.append(...found.slice(before, shownTiles).map((number) => tile(number, place)));
  more.hidden = found.length <= shownTiles;
  more.textContent = `Show ${Math.min(TILES, found.length - shownTiles)} more`;
  tiles.children[before]?.querySelector("button").focus();
}

/* Fill a list of choices; one that would leave nothing to choose is not shown. */
function choices(name, entries) {
  const select = wanted.elements[name];
  select.append(...entries.map(([value, text]) => element("option", { value }, text)));
  select.closest("label").hidden = entries.length < 2;
}

function distinct(name) {
  return [...new Set(index.samples.map((sample) => sample[name]).filter((value) => value !== null && value !== "–"))]
    .sort((one, other) => one.localeCompare(other, undefined, { numeric: true })).map((value) => [value, value]);
}

choices("run", index.runs.map((name, place) => [place, name]));
for (const name of ["split", "group", "label"]) choices(name, distinct(name));
wanted.addEventListener("input", refresh);
wanted.addEventListener("submit", (event) => event.preventDefault());
wanted.addEventListener("reset", () => { quadrant = null; setTimeout(refresh); });
more.addEventListener("click", showMore);
for (const button of gallery.querySelectorAll("button[data-quadrant]")) {
  button.addEventListener("click", () => {
    quadrant = quadrant === button.dataset.quadrant ? null : button.dataset.quadrant;
    refresh();
  });
}
document.addEventListener("marks", () => {
  for (const button of tiles.querySelectorAll("button.tile")) {
    button.querySelector(".marked").hidden = !isMarked(Number(button.dataset.number));
  }
});
addEventListener("beforeprint", () => {
  for (const holder of tiles.querySelectorAll(".holder:empty")) holder.draw();
});
gallery.hidden = false;
restoreMarks();
marksShown();
refresh();
