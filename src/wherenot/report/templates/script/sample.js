/* One sample: its evidence under every run, a slider over the regions in ranked order, and marks. */

const view = document.getElementById("view");
const slider = document.getElementById("slider");
const rest = document.getElementById("rest");
const part = (name) => document.getElementById(`view-${name}`);
let current = null;
let among = [];
let panels = [];

function openSample(number, numbers) {
  among = numbers;
  showSample(number);
  view.showModal();
  slider.focus();
}

function showSample(number) {
  current = number;
  const sample = index.samples[number], data = sampleData(number);
  part("title").textContent = sample.id;
  part("facts").replaceChildren(...factsOf(sample));
  panels = data.runs.flatMap((run, place) => panelOf(sample, data, run, place));
  part("runs").replaceChildren(...panels.map((panel) => panel.root));
  slider.max = Math.max(0, ...panels.map((panel) => (panel.stages ? panel.run.order.length : 0)));
  slider.value = Math.min(1, slider.max);
  slider.disabled = slider.max === "0";
  const place = among.indexOf(number);
  part("place").textContent = place < 0 ? "" : `${place + 1} of ${among.length}`;
  part("previous").disabled = place <= 0;
  part("next").disabled = place < 0 || place === among.length - 1;
  move();
  marksShown();
}

function factsOf(sample) {
  const facts = [["label", sample.label], ["split", sample.split], ["group", sample.group], ["asked", sample.prompt]];
  return facts.filter(([, value]) => value !== null && value !== "–").map(([name, value]) =>
    element("span", {}, `${name} `, element("b", {}, value)));
}

function panelOf(sample, data, run, place) {
  const verdict = sample.runs[place];
  if (verdict === null) return [];
  const words = run?.words ? new Words(run.words) : null;
  const root = element("section", { class: "run" }, element("h3", {}, index.runs[place]), verdictLine(verdict, false, words));
  if (run === null || run.problem) {
    root.append(element("p", { class: "note" }, run ? run.problem : "no picture was kept"));
    return [{ root }];
  }
  if (words) {
    root.append(element("p", { class: "note" }, "The stronger a word's ground, the more of its probability what the slider shows gives it; bold words need the image."));
  }
  const evidence = new Stage(data, run, `${sample.id}: evidence of ${index.runs[place]}`);
  const shown = new Stage(data, run, `${sample.id}: what the slider shows`);
  evidence.showEvidence();
  evidence.showsElements = true;
  const curves = run.insertion && run.deletion ? new Curves(run) : null;
  const caption = element("figcaption", {});
  const right = element("figure", {}, curves ? curves.root : element("p", { class: "note" }, "no curves were kept"), caption);
  root.append(element("div", { class: "stages" },
    element("figure", {}, evidence.root, element("figcaption", { class: "quiet" }, "evidence; the region at the slider is dotted")),
    element("figure", {}, shown.root, element("figcaption", { class: "quiet" }, "what the slider shows; the rest is hidden")),
    right));
  const fits = fitsMarks(data, evidence.grid);
  if (fits) markable(evidence);
  if (evidence.grid.elements.length) {
    right.append(elementsOf(evidence, run, (box) => { if (fits) markBox(current, chosenKind(), box); }));
  }
  return [{ root, name: index.runs[place], run, stages: [evidence, shown], curves, caption, words }];
}

function verdictLine(verdict, isShort = false, words = null) {
  const line = element("span", { class: "verdict" });
  if (verdict.error !== null) {
    line.append(element("span", { class: "wrong" }, `failed: ${verdict.error}`));
    return line;
  }
  line.append("says ", words ? words.root : element("b", {}, verdict.says), " ");
  if (verdict.right !== null) {
    const word = verdict.right ? "right" : "wrong", sign = verdict.right ? "✓" : "✗";
    line.append(isShort ? element("span", { class: word, role: "img", "aria-label": word }, sign)
      : element("span", { class: word }, `${sign} ${word}`), " ");
  }
  if (verdict.sure !== null) line.append(`${percent(verdict.sure)}${isShort ? "" : " sure"} `);
  line.append(badgeOf(verdict));
  return line;
}

function badgeOf(verdict) {
  if (verdict.hit === null) return element("span", { class: "badge" }, "no prior");
  const share = verdict.coverage === null ? "" : ` ${percent(verdict.coverage)}`;
  return element("span", { class: `badge ${verdict.hit ? "hit" : "miss"}` },
    `${verdict.hit ? "● on" : "○ off"} prior${share}`);
}

/* Follow the slider: show its regions, move the markers, and say where it stands. */
function move() {
  const count = Number(slider.value);
  const drawn = panels.filter((panel) => panel.stages);
  const said = [];
  for (const { name, run, stages: [evidence, shown], curves, caption, words } of drawn) {
    shown.showFirst(count, rest.checked);
    words?.move(Math.min(count, run.order.length), rest.checked);
    drawMarks(evidence, count);
    shown.drawLines();
    const area = run.areas[Math.min(count, run.order.length) - 1] || 0;
    const [alone, without] = curves ? curves.move(count) : [null, null];
    caption.replaceChildren(...(curves ? [
      element("span", { class: "key shown" }, `alone ${percent(alone)}`),
      element("span", { class: "key hidden" }, `without them ${percent(without)}`)] : []),
      element("span", { class: "quiet" }, `${Math.min(count, run.order.length)} of ${run.order.length} regions, ${percent(area)} of the image`));
    const found = `${percent(area)} of the image${curves ? `, alone ${percent(alone)}, without them ${percent(without)}` : ""}`;
    said.push(drawn.length > 1 ? `${name}: ${found}` : found);
  }
  const text = `first ${count} of ${slider.max} regions`;
  part("says").textContent = text;
  slider.setAttribute("aria-valuetext", `${text}; ${said.join("; ")}`);
}

function drawMarks(evidence, count) {
  const made = marks.get(current), fits = fitsMarks(sampleData(current), evidence.grid);
  evidence.drawLines(evidence.ofRegion(evidence.run.order[count - 1], "top"), made && fits ? evidence.marked(made) : []);
}

/* Marks lie on the pixels of the first grid; another run may have seen the image at another size. */
function fitsMarks(data, grid) {
  const first = data.grids[0];
  return ["width", "height", "view"].every((name) => String(first[name]) === String(grid[name]));
}

function chosenKind() {
  return KINDS[view.querySelector("input[name=kind]:checked").value];
}

function kindName(kind) {
  return Object.keys(KINDS).find((name) => KINDS[name] === kind);
}

/* A click marks the region under it; a drag draws a box. */
function markable(stage) {
  let start = null, draft = null;
  stage.root.classList.add("markable");
  const boxTo = (event) => {
    const [x, y] = stage.place(event);
    return [Math.floor(Math.min(start[0], x)), Math.floor(Math.min(start[1], y)),
      Math.ceil(Math.max(start[0], x)), Math.ceil(Math.max(start[1], y))];
  };
  const moved = (event) => Math.hypot(event.clientX - start[2], event.clientY - start[3]) > 5;
  const stop = () => { draft?.remove(); start = draft = null; };
  stage.root.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    event.preventDefault();
    start = [...stage.place(event), event.clientX, event.clientY];
    stage.root.setPointerCapture(event.pointerId);
  });
  stage.root.addEventListener("pointermove", (event) => {
    if (!start || !moved(event)) return;
    draft?.remove();
    draft = stage.box(kindName(chosenKind()), boxTo(event));
    stage.lines.append(draft);
  });
  stage.root.addEventListener("pointercancel", stop);
  stage.root.addEventListener("pointerup", (event) => {
    if (!start) return;
    const [isBox, box] = [moved(event), boxTo(event)];
    stop();
    if (!isBox) markRegion(current, stage.grid.map, stage.labelAt(stage.place(event)), chosenKind());
    else if (box[0] < box[2] && box[1] < box[3]) markBox(current, chosenKind(), box);
  });
}

/* Mark the region at the slider, of the first run that can be marked: what a click does, without a pointer. */
function markAtSlider(kind) {
  const panel = panels.find((each) => each.stages && fitsMarks(sampleData(current), each.stages[0].grid));
  const label = panel?.run.order[Number(slider.value) - 1];
  if (label !== undefined) markRegion(current, panel.stages[0].grid.map, label, kind);
}

function step(by) {
  const number = among[among.indexOf(current) + by];
  if (number !== undefined) showSample(number);
}

function said(marked) {
  return `${marked} marked sample${marked === 1 ? "" : "s"}`;
}

function marksShown() {
  const marked = markedNumbers().length;
  for (const button of document.querySelectorAll("button.download")) {
    button.disabled = marked === 0;
    button.textContent = marked ? `Download feedback.jsonl, ${said(marked)}` : "Download feedback.jsonl";
  }
  part("clear").disabled = current === null || !isMarked(current);
  part("kept").textContent = marked && !marksKept ? "This browser keeps nothing for this page: download before you close it." : "";
  for (const panel of panels.filter((each) => each.stages)) drawMarks(panel.stages[0], Number(slider.value));
}

const KEYS = {
  ArrowLeft: () => { slider.stepDown(); move(); },
  ArrowRight: () => { slider.stepUp(); move(); },
  n: () => step(1),
  p: () => step(-1),
  f: () => markAtSlider(FORBIDDEN),
  a: () => markAtSlider(ALLOWED),
};

slider.addEventListener("input", move);
rest.addEventListener("change", move);
part("close").addEventListener("click", () => view.close());
part("previous").addEventListener("click", () => step(-1));
part("next").addEventListener("click", () => step(1));
part("mark").addEventListener("click", () => markAtSlider(chosenKind()));
part("clear").addEventListener("click", () => clearMarks(current));
view.addEventListener("click", (event) => { if (event.target === view) view.close(); });
view.addEventListener("keydown", (event) => {
  const typing = event.target.matches("input[type=radio]") || (event.target === slider && event.key.startsWith("Arrow"));
  if (typing || event.ctrlKey || event.metaKey || event.altKey || !KEYS[event.key]) return;
  event.preventDefault();
  KEYS[event.key]();
});
document.addEventListener("marks", marksShown);
for (const button of document.querySelectorAll("button.download")) button.addEventListener("click", downloadMarks);
