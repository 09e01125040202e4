// The button that compares the two images of a pair.
"use strict";
for (const button of document.querySelectorAll("[data-pair]")) {
  const pair = page.pairs[Number(button.dataset.pair)];
  const section = button.closest("section");
  const [first, second] = [...section.querySelectorAll("img")].map((image, side) => ({
    href: image.src, name: image.alt, size: pair.sizes[side],
  }));
  button.addEventListener("click", () => comparison.against(first, second, pair.facts));
  button.parentElement.hidden = false;
}
