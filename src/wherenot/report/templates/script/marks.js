/* What a person marks: per sample a map of the pixels of marked regions, and boxes; kept by the browser if it may. */

const FORBIDDEN = 1, ALLOWED = 2;
const KINDS = { forbidden: FORBIDDEN, allowed: ALLOWED };
const STORE = `wherenot-marks-${index.key}`;
const marks = new Map();
let marksSaved = true;
let marksKept = true;

function marksOf(number) {
  if (!marks.has(number)) {
    const grid = unpackedGrid(sampleData(number), 0);
    marks.set(number, { map: new Uint8Array(grid.map.length), boxes: [] });
  }
  return marks.get(number);
}

function isMarked(number) {
  const made = marks.get(number);
  return Boolean(made) && (made.boxes.length > 0 || made.map.some((kind) => kind > 0));
}

function markedNumbers() {
  return [...marks.keys()].filter(isMarked).sort((one, other) => one - other);
}

/* Mark a region, given as its map and label; marking it in the same way again takes the mark away. */
function markRegion(number, map, label, kind) {
  const made = marksOf(number);
  const places = [];
  map.forEach((each, place) => { if (each === label) places.push(place); });
  const same = places.every((place) => made.map[place] === kind);
  for (const place of places) made.map[place] = same ? 0 : kind;
  marksChanged();
}

/* Mark a box; marking it in the same way again takes the mark away. */
function markBox(number, kind, box) {
  const made = marksOf(number), same = (each) => each.kind === kind && String(each.box) === String(box);
  const left = made.boxes.filter((each) => !same(each));
  made.boxes = left.length < made.boxes.length ? left : [...left, { kind, box }];
  marksChanged();
}

function clearMarks(number) {
  marks.delete(number);
  marksChanged();
}

function marksChanged() {
  marksSaved = markedNumbers().length === 0;
  try {
    localStorage.setItem(STORE, feedbackLines());
  } catch {
    marksKept = false;
  }
  document.dispatchEvent(new Event("marks"));
}

/* Row by row the lengths of runs, outside and inside by turns, beginning outside. */
function runLengths(map, kind) {
  const lengths = [0];
  let inside = false;
  for (const each of map) {
    if ((each === kind) !== inside) { lengths.push(0); inside = !inside; }
    lengths[lengths.length - 1] += 1;
  }
  return lengths.length > 1 ? lengths : [];
}

/* One line of JSON per marked sample, for --feedback. */
function feedbackLines() {
  return markedNumbers().map((number) => {
    const { id, split } = index.samples[number];
    const { width, height, view } = sampleData(number).grids[0];
    const made = marksOf(number);
    const line = { split, id, height, width, view };
    for (const [name, kind] of Object.entries(KINDS)) {
      const boxes = made.boxes.filter((each) => each.kind === kind).map((each) => each.box);
      const runs = runLengths(made.map, kind);
      if (boxes.length || runs.length) line[name] = { boxes, runs };
    }
    return `${JSON.stringify(line)}\n`;
  }).join("");
}

function restoreMarks() {
  let lines = null;
  try {
    lines = localStorage.getItem(STORE);
  } catch {
    marksKept = false;
  }
  const numbers = new Map(index.samples.map((each, number) => [JSON.stringify([each.split, each.id]), number]));
  for (const text of (lines || "").split("\n").filter(Boolean)) {
    const line = JSON.parse(text);
    const number = numbers.get(JSON.stringify([line.split, line.id]));
    if (number === undefined) continue;
    const made = marksOf(number);
    for (const [name, kind] of Object.entries(KINDS)) {
      const { boxes = [], runs = [] } = line[name] || {};
      made.boxes.push(...boxes.map((box) => ({ kind, box })));
      let at = 0;
      runs.forEach((length, turn) => { if (turn % 2) made.map.fill(kind, at, at + length); at += length; });
    }
  }
}

function downloadMarks() {
  const link = element("a", { download: "feedback.jsonl" });
  link.href = URL.createObjectURL(new Blob([feedbackLines()], { type: "application/jsonl" }));
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  marksSaved = true;
}

addEventListener("beforeunload", (event) => {
  if (!marksSaved && !marksKept) event.preventDefault();
});
