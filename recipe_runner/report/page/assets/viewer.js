// One image with everything that is known about it.
"use strict";
const viewer = (() => {
  const detail = document.getElementById("detail");
  const quoted = (text) => /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
  let current = 0;
  let zoomed = null;

  // The page can be anywhere: find the run relative to the address of the page.
  const command = (image) => {
    const run = page.runs[image.run];
    if (!run.resolved) return "not available: resolved.yaml is missing from the run folder, or has another version";
    const address = new URL(run.resolved, document.baseURI);
    const path = address.protocol === "file:" ? decodeURIComponent(address.pathname) : decodeURIComponent(run.resolved);
    return `recipe-runner run ${quoted(path)} --only ${quoted(image.file)} --runs again`;
  };

  const facts = (image) => {
    const asked = page.asked[image.asked] ?? {};
    const values = { ...asked.texts };
    page.axes.forEach((axis, number) => {
      if (axis.id !== "prompt" && !(axis.id === "run" && axis.values.length === 1)) values[axis.id] = axis.values[image.at[number]].label;
    });
    for (const [name, scale] of Object.entries(asked.scales ?? {})) values[`scale of ${name}`] = scale;
    return { ...values, ...asked.sampling, ...image.facts };
  };

  const put = (list, values) => {
    list.replaceChildren();
    for (const [name, value] of Object.entries(values)) {
      const className = /^[0-9a-f]{64}$/.test(value) ? "digest" : "";
      list.append(make("dt", { textContent: name }), make("dd", { textContent: value, className }));
    }
  };

  const open = (number) => {
    const image = page.images[number];
    current = number;
    detail.querySelector("h2").textContent = image.name;
    const view = detail.querySelector(".stage img");
    zoomed?.destroy();
    view.removeAttribute("style");
    view.alt = image.name;
    view.src = image.href;
    if (!detail.open) detail.showModal();
    const stage = detail.querySelector(".stage");
    const scale = Math.min(stage.clientWidth / image.size[0], stage.clientHeight / image.size[1]);
    view.width = Math.round(image.size[0] * (scale >= 2 ? Math.floor(scale) : Math.min(scale, 1)));
    view.style.height = "auto";
    zoomed = Panzoom(view, { maxScale: 64, minScale: 0.2, canvas: true, step: 0.4 });
    view.addEventListener("panzoomchange", sharpen);
    sharpen();
    put(detail.querySelector("dl"), facts(image));
    detail.querySelector("code").textContent = command(image);
    detail.querySelector("[role=status]").textContent = page.runs[image.run].batched
      ? "At level fast, an image made alone can differ in its last bits from one made in a batch." : "";
    detail.querySelector("[data-do=mark]").setAttribute("aria-pressed", String(sheet.isMarked(number)));
  };
  const sharpen = () => {
    const view = detail.querySelector(".stage img");
    const width = view.getBoundingClientRect().width || view.width;
    view.classList.toggle("pixels", width >= 2 * page.images[current].size[0]);
  };

  const turn = (by) => {
    const order = sheet.order();
    open(order[(order.indexOf(current) + by + order.length) % order.length]);
  };

  const copy = async () => {
    const text = detail.querySelector("code").textContent;
    const status = detail.querySelector("[role=status]");
    try {
      await navigator.clipboard.writeText(text);
      status.textContent = "Copied.";
    } catch {
      getSelection().selectAllChildren(detail.querySelector("code"));
      status.textContent = "Selected. Copy it with the keyboard.";
    }
  };

  const actions = {
    previous: () => turn(-1), next: () => turn(1), close: () => detail.close(), copy,
    in: () => zoomed.zoomIn(), out: () => zoomed.zoomOut(), fit: () => zoomed.reset(),
    mark: (button) => {
      sheet.mark(current, !sheet.isMarked(current));
      button.setAttribute("aria-pressed", String(sheet.isMarked(current)));
    },
  };

  const start = () => {
    detail.addEventListener("click", (event) => {
      const button = event.target.closest("[data-do]");
      if (button) actions[button.dataset.do](button);
    });
    detail.querySelector(".stage").addEventListener("wheel", (event) => {
      event.preventDefault();
      zoomed.zoomWithWheel(event);
    }, { passive: false });
    detail.addEventListener("keydown", (event) => {
      if (event.key === "ArrowLeft") turn(-1);
      if (event.key === "ArrowRight") turn(1);
      if (event.key === "+") zoomed.zoomIn();
      if (event.key === "-") zoomed.zoomOut();
      if (event.key === "0") zoomed.reset();
      if (event.key === "c") detail.querySelector("[data-do=mark]").click();
    });
    detail.addEventListener("close", () => sheet.focus(current));
  };

  return {
    open, start,
    compare: (a, b) => {
      const [first, second] = [page.images[a], page.images[b]];
      const [one, two] = [facts(first), facts(second)];
      const names = Object.keys({ ...one, ...two }).filter((name) => one[name] !== two[name]);
      comparison.against(first, second, names.map((name) => [name, one[name], two[name]]));
    },
  };
})();
