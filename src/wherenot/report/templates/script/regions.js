/* What the page was given: regions, evidence and priors as numbers, and how they become pixels and outlines. */

const index = JSON.parse(document.getElementById("index").textContent);
const parsed = new Map();

/* The picture, the regions and the curves of one sample; read when first asked for. */
function sampleData(number) {
  if (!parsed.has(number)) {
    parsed.set(number, JSON.parse(document.getElementById(`sample-${number}`).textContent));
  }
  return parsed.get(number);
}

/* Seven bits of a number per byte, the lowest first; the eighth says that more come. */
function unpack(text) {
  const numbers = [];
  let value = 0, shift = 0;
  for (const letter of atob(text)) {
    const byte = letter.charCodeAt(0);
    value += (byte & 127) * 2 ** shift;
    shift += 7;
    if (byte < 128) {
      numbers.push(value);
      value = shift = 0;
    }
  }
  return numbers;
}

/* A map of one whole number per pixel, from runs of label and length. */
function unpackMap(text, size) {
  const map = new Uint16Array(size), runs = unpack(text);
  let at = 0;
  for (let place = 0; place < runs.length; place += 2) {
    map.fill(runs[place], at, at += runs[place + 1]);
  }
  return map;
}

/* A sample's grid with its maps unpacked, once. */
function unpackedGrid(data, number) {
  const grid = data.grids[number];
  if (!grid.map) {
    const size = grid.width * grid.height;
    grid.map = unpackMap(grid.labels, size);
    grid.allowedMap = grid.allowed && unpackMap(grid.allowed, size);
    grid.forbiddenMap = grid.forbidden && unpackMap(grid.forbidden, size);
  }
  return grid;
}

/* The border of the pixels on which `inside(place)` holds, as an SVG path along pixel edges. */
function outline(grid, inside) {
  const { width, height } = grid;
  const holds = (x, y) => x >= 0 && y >= 0 && x < width && y < height && Boolean(inside(y * width + x));
  let path = "";
  for (let y = 0; y <= height; y++) {
    for (let x = 0, start = -1; x <= width; x++) {
      const edge = x < width && holds(x, y) !== holds(x, y - 1);
      if (edge && start < 0) start = x;
      if (!edge && start >= 0) { path += `M${start} ${y}H${x}`; start = -1; }
    }
  }
  for (let x = 0; x <= width; x++) {
    for (let y = 0, start = -1; y <= height; y++) {
      const edge = y < height && holds(x, y) !== holds(x - 1, y);
      if (edge && start < 0) start = y;
      if (!edge && start >= 0) { path += `M${x} ${start}V${y}`; start = -1; }
    }
  }
  return path;
}

/* The pixels themselves, as an SVG path to fill. */
function filling(grid, inside) {
  let path = "";
  for (let y = 0; y < grid.height; y++) {
    for (let x = 0, start = -1; x <= grid.width; x++) {
      const holds = x < grid.width && inside(y * grid.width + x);
      if (holds && start < 0) start = x;
      if (!holds && start >= 0) { path += `M${start} ${y}h${x - start}v1h${start - x}z`; start = -1; }
    }
  }
  return path;
}

/* Paint a canvas pixel by pixel: `color(place)` gives red, green, blue and opacity, each up to 255. */
function paint(canvas, grid, color) {
  canvas.width = grid.width;
  canvas.height = grid.height;
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(grid.width, grid.height);
  for (let place = 0; place < grid.map.length; place++) {
    pixels.data.set(color(place), 4 * place);
  }
  context.putImageData(pixels, 0, 0);
}

/* The colour of each region's evidence, on the scale that all pictures share. */
function evidenceColors(values) {
  const last = index.colors.length - 1;
  return values.map((value) => index.colors[Math.round(value * last)]);
}

const SVG = document.querySelector("svg").namespaceURI;

function element(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

function drawing(name, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, name), attributes, children);
}

function filled(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

function percent(share) {
  return share === null || share === undefined ? "–" : `${Math.round(100 * share)}%`;
}
