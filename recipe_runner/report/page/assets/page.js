// What every script of the page uses: the data, and elements whose texts are set as text.
"use strict";
const page = JSON.parse(document.getElementById("data").textContent);
const make = (tag, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
};
