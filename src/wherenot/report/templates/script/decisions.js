/* What a person decides on each prior; kept by the browser if it may, and downloaded as review.jsonl. */

const ACCEPTED = "accepted", REJECTED = "rejected";
const STORE = `wherenot-review-${index.key}`;
const decisions = new Map();
const history = [];
let decisionsSaved = true;
let decisionsKept = true;

/* Decide; the same decision again takes it back. */
function decide(number, verdict) {
  const before = decisions.get(number);
  history.push([number, before]);
  put(number, before === verdict ? undefined : verdict);
}

/* Take the last decision back; gives the number of its prior. */
function undo() {
  if (!history.length) return undefined;
  const [number, before] = history.pop();
  put(number, before);
  return number;
}

function put(number, verdict) {
  if (verdict === undefined) decisions.delete(number);
  else decisions.set(number, verdict);
  decisionsSaved = decisions.size === 0;
  try {
    localStorage.setItem(STORE, reviewLines());
  } catch {
    decisionsKept = false;
  }
  document.dispatchEvent(new CustomEvent("decisions", { detail: number }));
}

/* One line of JSON per decision, for data convert --review. */
function reviewLines() {
  return [...decisions.keys()].sort((one, other) => one - other).map((number) => {
    const { split, id, prior } = index.samples[number];
    return `${JSON.stringify({ split, id, decision: decisions.get(number), prior })}\n`;
  }).join("");
}

function restoreDecisions() {
  let lines = null;
  try {
    lines = localStorage.getItem(STORE);
  } catch {
    decisionsKept = false;
  }
  const name = ({ split, id, prior }) => JSON.stringify([split, id, prior]);
  const numbers = new Map(index.samples.map((each, number) => [name(each), number]));
  for (const text of (lines || "").split("\n").filter(Boolean)) {
    const line = JSON.parse(text);
    const number = numbers.get(name(line));
    if (number !== undefined && [ACCEPTED, REJECTED].includes(line.decision)) decisions.set(number, line.decision);
  }
}

function downloadDecisions() {
  const link = element("a", { download: "review.jsonl" });
  link.href = URL.createObjectURL(new Blob([reviewLines()], { type: "application/jsonl" }));
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  decisionsSaved = true;
}

addEventListener("beforeunload", (event) => {
  if (!decisionsSaved && !decisionsKept) event.preventDefault();
});
