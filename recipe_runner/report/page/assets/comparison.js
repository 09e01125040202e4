// Compares two images: with a slider, side by side, or by their difference.
"use strict";
const comparison = (() => {
  const compare = document.getElementById("compare");

  const imageOf = (side, width) => {
    const image = make("img", { src: side.href, alt: side.name, width, draggable: false });
    image.classList.toggle("pixels", width >= 2 * side.size[0]);
    return image;
  };
  const pair = { first: null, second: null };
  const views = {
    slider: (width) => {
      const slider = make("img-comparison-slider", {}, imageOf(pair.first, width), imageOf(pair.second, width));
      slider.children[0].slot = "first";
      slider.children[1].slot = "second";
      slider.setAttribute("role", "slider");
      slider.setAttribute("aria-label", "Share of the first image that is shown");
      slider.setAttribute("aria-valuemin", "0");
      slider.setAttribute("aria-valuemax", "100");
      const announce = () => slider.setAttribute("aria-valuenow", String(Math.round(slider.value ?? 50)));
      slider.addEventListener("slide", announce);
      announce();
      return [slider];
    },
    beside: (width) => [imageOf(pair.first, width), imageOf(pair.second, width)],
    difference: (width) => {
      const over = make("div", { className: "over" }, imageOf(pair.first, width), imageOf(pair.second, width));
      over.style.filter = `brightness(${2 ** Number(compare.querySelector("[type=range]").value)})`;
      return [over];
    },
  };

  const show = () => {
    const how = compare.querySelector("[name=how]:checked").value;
    const room = Math.min(innerWidth * 0.9, 1400) / (how === "beside" ? 2 : 1) - 24;
    const [wide, high] = pair.first.size;
    const scale = Math.min(room / wide, (innerHeight * 0.6) / high);
    const width = Math.round(wide * (scale >= 2 ? Math.floor(scale) : scale));
    compare.querySelector(".pair").replaceChildren(...views[how](width));
    compare.querySelector(".amplify").style.visibility = how === "difference" ? "visible" : "hidden";
    compare.querySelector("output").textContent = `×${2 ** Number(compare.querySelector("[type=range]").value)}`;
  };

  const against = (first, second, differing) => {
    Object.assign(pair, { first, second });
    compare.querySelector(".first").textContent = first.name;
    compare.querySelector(".second").textContent = second.name;
    compare.querySelector("tbody").replaceChildren(...differing.map((cells) =>
      make("tr", {}, make("th", { scope: "row", textContent: cells[0] }), ...cells.slice(1).map((text) => make("td", {
        textContent: text ?? "—", className: /^[0-9a-f]{64}$/.test(text) ? "digest" : "",
      })))));
    show();
    if (!compare.open) compare.showModal();
  };

  compare.addEventListener("click", (event) => {
    if (event.target.closest("[data-do=close]")) compare.close();
  });
  compare.addEventListener("input", show);
  addEventListener("resize", () => compare.open && show());
  return { against };
})();
