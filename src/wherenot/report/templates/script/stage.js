/* One picture with what lies on it: evidence or hidden regions as pixels, prior, marks and the chosen region as lines. */

class Stage {
  constructor(data, run, label) {
    this.run = run;
    this.grid = unpackedGrid(data, run.grid);
    const { uri, tiny } = data.images[this.grid.image];
    this.image = element("img", { src: uri, alt: "", decoding: "async", class: tiny ? "pixels" : null });
    this.canvas = element("canvas", { class: "pixels", "aria-hidden": "true" });
    this.lines = drawing("svg", { viewBox: `0 0 ${this.grid.width} ${this.grid.height}`, "aria-hidden": "true" });
    this.root = element("span", { class: "stage", role: "img", "aria-label": label }, this.image, this.canvas, this.lines);
    this.root.style.aspectRatio = `${this.grid.width} / ${this.grid.height}`;
    this.root.style.maxWidth = `calc(75vh * ${(this.grid.width / this.grid.height).toFixed(3)})`;
    this.showsElements = false;
  }

  showEvidence() {
    const colors = evidenceColors(this.run.values);
    this.image.classList.add("grey");
    paint(this.canvas, this.grid, (place) => colors[this.grid.map[place]]);
  }

  /* Only the first regions, or all but them; what is hidden is grey. */
  showFirst(count, rest) {
    const first = new Set(this.run.order.slice(0, count));
    paint(this.canvas, this.grid, (place) => (first.has(this.grid.map[place]) !== rest ? [0, 0, 0, 0] : [125, 125, 125, 255]));
  }

  drawLines(...extra) {
    const { allowedMap, forbiddenMap } = this.grid;
    this.lines.replaceChildren(
      ...this.elements(),
      ...this.outlined("prior", allowedMap && ((place) => allowedMap[place])),
      ...this.outlined("forbidden", forbiddenMap && ((place) => forbiddenMap[place])),
      ...extra.flat(),
      ...this.star(),
    );
  }

  /* The elements of a screen, where the view asks for them. */
  elements() {
    const boxes = this.showsElements ? this.grid.elements : [];
    const path = boxes.map(([, x0, y0, x1, y1]) => `M${x0} ${y0}H${x1}V${y1}H${x0}Z`).join("");
    return path ? [drawing("path", { d: path, class: "line element" })] : [];
  }

  outlined(kind, inside) {
    const path = inside ? outline(this.grid, inside) : "";
    return path ? [drawing("path", { d: path, class: "line halo" }), drawing("path", { d: path, class: `line ${kind}` })] : [];
  }

  ofRegion(label, kind) {
    return label === undefined ? [] : this.outlined(kind, (place) => this.grid.map[place] === label);
  }

  marked(made) {
    const drawn = [];
    for (const [name, kind] of Object.entries(KINDS)) {
      const inside = (place) => made.map[place] === kind;
      const path = filling(this.grid, inside);
      if (path) drawn.push(drawing("path", { d: path, class: `mark ${name}` }), ...this.outlined(name, inside));
      for (const each of made.boxes.filter((box) => box.kind === kind)) drawn.push(this.box(name, each.box));
    }
    return drawn;
  }

  box(name, [x0, y0, x1, y1]) {
    return drawing("path", { d: `M${x0} ${y0}H${x1}V${y1}H${x0}Z`, class: `mark box line ${name}` });
  }

  /* Outline a box until another is pointed at; none takes the outline away. */
  point(box) {
    this.pointed?.remove();
    this.pointed = box && this.box("pointed", box);
    if (box) this.lines.append(this.pointed);
  }

  star() {
    if (!this.run.clicked) return [];
    const { width, height } = this.grid, radius = Math.max(5, 0.03 * Math.max(width, height));
    const corners = Array.from({ length: 10 }, (_, corner) => {
      const reach = corner % 2 ? 0.45 * radius : radius, angle = (Math.PI * corner) / 5;
      return `${this.run.clicked[0] * width + reach * Math.sin(angle)} ${this.run.clicked[1] * height - reach * Math.cos(angle)}`;
    });
    return [drawing("path", { d: `M${corners.join("L")}Z`, class: "star" })];
  }

  /* Where a pointer is, in pixels of the grid and within it. */
  place(event) {
    const frame = this.root.getBoundingClientRect();
    const along = (at, start, length, pixels) => Math.min(pixels, Math.max(0, ((at - start) / length) * pixels));
    return [
      along(event.clientX, frame.left, frame.width, this.grid.width),
      along(event.clientY, frame.top, frame.height, this.grid.height),
    ];
  }

  labelAt([x, y]) {
    const { width, height, map } = this.grid;
    return map[Math.min(height - 1, Math.floor(y)) * width + Math.min(width - 1, Math.floor(x))];
  }
}

/* The curves of insertion and deletion over the share of the image, with a marker that moves. */
class Curves {
  constructor(run) {
    this.run = run;
    this.areas = [0, ...run.areas];
    this.marker = drawing("g", { class: "marker" });
    this.root = drawing("svg", { viewBox: "-34 -8 296 156", class: "curves", role: "img" });
    for (const level of [0, 0.5, 1]) {
      this.root.append(
        drawing("path", { d: `M0 ${this.y(level)}H256`, class: "rule" }),
        drawing("text", { x: -6, y: this.y(level) + 4, "text-anchor": "end" }, `${100 * level}%`),
      );
    }
    this.root.append(
      drawing("text", { x: 0, y: 145 }, "0%"),
      drawing("text", { x: 128, y: 145, "text-anchor": "middle" }, "share of the image"),
      drawing("text", { x: 256, y: 145, "text-anchor": "end" }, "100%"),
      drawing("path", { d: this.path(run.insertion), class: "curve shown" }),
      drawing("path", { d: this.path(run.deletion), class: "curve hidden" }),
      this.marker,
    );
  }

  x(area) { return (256 * area).toFixed(1); }
  y(value) { return +(120 * (1 - value) + 8).toFixed(1); }

  path(values) {
    return `M${values.map((value, rank) => `${this.x(this.areas[rank])} ${this.y(value)}`).join("L")}`;
  }

  move(count) {
    const rank = Math.min(count, this.run.order.length), x = this.x(this.areas[rank]);
    const shown = this.run.insertion[rank], hidden = this.run.deletion[rank];
    this.marker.replaceChildren(
      drawing("path", { d: `M${x} 8V128`, class: "at" }),
      drawing("circle", { cx: x, cy: this.y(shown), r: 4.5, class: "shown" }),
      drawing("circle", { cx: x, cy: this.y(hidden), r: 4.5, class: "hidden" }),
    );
    this.root.setAttribute("aria-label", `with the first ${rank} regions alone ${percent(shown)}, without them ${percent(hidden)}`);
    return [shown, hidden];
  }
}
