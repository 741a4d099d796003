/* What an answer says, word by word, and the elements of the screen it is about. */

const NEEDS = 20;  // points of probability from which on a word needs the image

/* The words of an answer, on a ground as strong as the probability that the regions at the slider give them. */
class Words {
  constructor({ pieces, chosen, shown, rest }) {
    this.count = chosen.length;
    this.shown = unpack(shown);
    this.rest = unpack(rest);
    const column = new Map(chosen.map((place, number) => [place, number]));
    this.words = [];
    this.root = element("p", { class: "spoken" }, ...pieces.map((piece, place) => {
      if (!column.has(place)) return element("span", { class: "unread" }, piece);
      const number = column.get(place), [empty, full] = [this.shown[number], this.rest[number]];
      const word = element("span", { class: full - empty > NEEDS ? "word needs" : "word" }, piece);
      this.words[number] = word;
      return word;
    }));
  }

  /* With the first regions alone, or with all but them. */
  move(count, rest) {
    const values = rest ? this.rest : this.shown;
    this.words.forEach((word, number) => {
      const [empty, full] = [this.shown[number], this.rest[number]], now = values[count * this.count + number];
      word.style.setProperty("--fall", (Math.max(0, now - empty) / 100).toFixed(2));
      word.title = `${now}% with what the slider shows; ${full}% with the whole image, ${empty}% with nothing of it`;
    });
  }
}

/* The elements of a screen, those with the strongest evidence first; each outlines itself, and can be marked. */
function elementsOf(stage, run, mark) {
  const { width, map, allowedMap, elements } = stage.grid;
  const listed = elements.flatMap(([name, x0, y0, x1, y1]) => {
    let sum = 0, allowed = 0;
    for (let y = y0; y < y1; y++) {
      for (let x = x0; x < x1; x++) {
        sum += run.values[map[y * width + x]];
        allowed += allowedMap ? allowedMap[y * width + x] : 0;
      }
    }
    const area = (x1 - x0) * (y1 - y0);
    return area > 0 ? [{ name: name || "without a name", box: [x0, y0, x1, y1], value: sum / area, allowed: allowed > area / 2 }] : [];
  }).sort((one, other) => other.value - one.value);
  const items = listed.map(({ name, box, value, allowed }) => {
    const button = element("button", { type: "button" }, element("b", {}, percent(value)), ` ${name}`,
      element("span", { class: "badge hit", hidden: !allowed }, "on prior"));
    const light = () => stage.point(box), dark = () => stage.point(null);
    for (const [event, act] of [["pointerenter", light], ["focus", light], ["pointerleave", dark], ["blur", dark]]) {
      button.addEventListener(event, act);
    }
    button.addEventListener("click", () => mark(box));
    return element("li", {}, button);
  });
  return element("details", { class: "elements" },
    element("summary", {}, `${listed.length} elements, by the evidence on them`),
    element("p", { class: "note" }, "Pointing at one outlines it; a click marks it."),
    element("ol", { tabindex: "0", "aria-label": "elements, by the evidence on them" }, ...items));
}
