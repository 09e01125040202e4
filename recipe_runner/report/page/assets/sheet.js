// The contact sheet: each axis is on the rows, on the columns, or fixed at one value. No text is parsed as HTML.
"use strict";
const sheet = (() => {
  const table = document.querySelector("table.images");
  const controls = document.getElementById("controls");
  const figures = [];
  for (const figure of table.querySelectorAll("figure")) figures[Number(figure.dataset.image)] = figure;
  // By axis: "row", "column", or the number of the one value that is shown.
  const places = page.axes.map((axis, number) =>
    page.rows.includes(number) ? "row" : page.columns.includes(number) ? "column" : 0);
  let shown = [];
  let here = 0;
  const marked = [];

  const combinations = (axes, images) => {
    const found = new Map();
    for (const image of images) {
      const at = axes.map((axis) => image.at[axis]);
      found.set(at.join(), at);
    }
    return [...found.values()].sort((a, b) => {
      const first = a.findIndex((value, level) => value !== b[level]);
      return first < 0 ? 0 : a[first] - b[first];
    });
  };

  const header = (axis, value, properties) => {
    const label = page.axes[axis].values[value];
    const cell = make("th", properties, make("strong", { textContent: (page.axes[axis].id === "seed" ? "seed " : "") + label.label }));
    if (label.text) cell.append(make("span", { className: "text", textContent: label.text }));
    if (label.negative) cell.append(make("span", { className: "text grey", textContent: `not: ${label.negative}` }));
    return cell;
  };

  // How many combinations, beginning at `start`, are equal up to `level`.
  const span = (all, start, level) => {
    let end = start + 1;
    while (end < all.length && all[end].slice(0, level + 1).join() === all[start].slice(0, level + 1).join()) end += 1;
    return end - start;
  };
  const begins = (all, index, level) =>
    index === 0 || all[index].slice(0, level + 1).join() !== all[index - 1].slice(0, level + 1).join();

  const draw = () => {
    const axesOf = (place) => page.axes.map((_, number) => number).filter((number) => places[number] === place);
    const rowAxes = axesOf("row");
    const columnAxes = axesOf("column");
    const images = page.images.filter((image) =>
      places.every((place, axis) => typeof place === "string" || image.at[axis] === place));
    const rows = combinations(rowAxes, images);
    const columns = combinations(columnAxes, images);
    const grid = new Map(images.map((image) =>
      [`${rowAxes.map((axis) => image.at[axis])}|${columnAxes.map((axis) => image.at[axis])}`, image]));
    const head = make("thead");
    columnAxes.forEach((axis, level) => {
      const line = make("tr", {}, make("th", {
        scope: "row", colSpan: rowAxes.length || 1, textContent: page.axes[axis].name, title: page.axes[axis].id,
      }));
      columns.forEach((column, index) => {
        if (begins(columns, index, level)) {
          line.append(header(axis, column[level], { scope: "col", colSpan: span(columns, index, level) }));
        }
      });
      head.append(line);
    });
    const body = make("tbody");
    shown = [];
    rows.forEach((row, index) => {
      const line = make("tr");
      if (!rowAxes.length) line.append(make("th", { scope: "row", textContent: "all" }));
      rowAxes.forEach((axis, level) => {
        if (begins(rows, index, level)) {
          line.append(header(axis, row[level], {
            scope: "row", className: page.axes[axis].id, rowSpan: span(rows, index, level),
          }));
        }
      });
      const cells = columns.map((column) => grid.get(`${row}|${column}`));
      for (const image of cells) {
        line.append(image ? make("td", {}, figures[image.number]) : make("td", { className: "missing", textContent: "not made" }));
      }
      shown.push(cells.map((image) => image && image.number));
      body.append(line);
    });
    table.replaceChildren(table.caption, head, body);
    focusable(images.some((image) => image.number === here) ? here : images[0]?.number ?? 0);
  };

  // One image is a tab stop; the arrow keys move from there.
  const focusable = (number) => {
    if (figures[here]) figures[here].querySelector("a").tabIndex = -1;
    here = number;
    if (figures[number]) figures[number].querySelector("a").tabIndex = 0;
  };
  const steps = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
  const keyed = (event) => {
    const figure = event.target.closest("figure");
    if (!figure || event.ctrlKey || event.metaKey || event.altKey) return;
    const number = Number(figure.dataset.image);
    if (event.key === "c") mark(number, !marked.includes(number));
    const step = steps[event.key];
    if (!step) return;
    event.preventDefault();
    let row = shown.findIndex((cells) => cells.includes(number));
    let column = shown[row].indexOf(number);
    do {
      row += step[0];
      column += step[1];
    } while (shown[row] && column >= 0 && column < shown[row].length && shown[row][column] === undefined);
    const next = shown[row]?.[column];
    if (next === undefined) return;
    focusable(next);
    figures[next].querySelector("a").focus();
  };

  const button = make("button", { type: "button", textContent: "compare", disabled: true });
  const mark = (number, on) => {
    const place = marked.indexOf(number);
    if (!on && place >= 0) marked.splice(place, 1);
    if (on && place < 0) marked.push(number);
    while (marked.length > 2) figures[marked.shift()].querySelector("input").checked = false;
    figures[number].querySelector("input").checked = marked.includes(number);
    button.disabled = marked.length !== 2;
    button.textContent = marked.length === 2 ? "compare the two marked images" : `compare (${marked.length} of 2 marked)`;
  };

  const choose = (axis, number) => {
    const select = make("select", { ariaLabel: axis.name });
    select.append(make("option", { value: "row", textContent: "rows" }), make("option", { value: "column", textContent: "columns" }));
    axis.values.forEach((value, index) =>
      select.append(make("option", { value: String(index), textContent: `only ${value.label}` })));
    select.value = String(places[number]);
    select.addEventListener("change", () => {
      places[number] = ["row", "column"].includes(select.value) ? select.value : Number(select.value);
      draw();
    });
    return make("label", {}, `${axis.name} `, select);
  };

  const start = () => {
    const size = make("input", { type: "range", min: "0.25", max: "2", step: "0.05", value: "1" });
    size.addEventListener("input", () => document.documentElement.style.setProperty("--zoom", size.value));
    button.addEventListener("click", () => viewer.compare(...marked));
    const axes = page.axes.map((axis, number) => [axis, number]).filter(([axis]) => axis.values.length > 1);
    controls.className = "tools";
    controls.append(...axes.map(([axis, number]) => choose(axis, number)), make("label", {}, "size ", size), button,
      make("span", { className: "grey", textContent: "arrow keys: move · Enter: open · c: mark for comparison" }));
    controls.hidden = false;
    for (const [number, figure] of figures.entries()) {
      // A page with embedded images contains each image only once.
      page.images[number].href ??= figure.querySelector("img").src;
      const box = make("input", { type: "checkbox", tabIndex: -1, title: "compare" });
      box.setAttribute("aria-label", `compare ${page.images[number].name}`);
      box.addEventListener("change", () => mark(number, box.checked));
      figure.append(make("label", { className: "mark" }, box));
      figure.querySelector("a").tabIndex = -1;
    }
    table.addEventListener("keydown", keyed);
    table.addEventListener("click", (event) => {
      const link = event.target.closest("figure > a");
      if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      const number = Number(link.parentElement.dataset.image);
      focusable(number);
      viewer.open(number);
    });
    mark(0, false);
    shown = [...table.tBodies[0].rows].map((row) => [...row.cells].filter((cell) => cell.tagName === "TD")
      .map((cell) => cell.firstElementChild?.dataset?.image).map((number) => number === undefined ? undefined : Number(number)));
    focusable(0);
  };

  return {
    start, mark,
    isMarked: (number) => marked.includes(number),
    order: () => shown.flat().filter((number) => number !== undefined),
    focus: (number) => figures[number]?.querySelector("a").focus(),
  };
})();
