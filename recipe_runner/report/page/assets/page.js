// Shared by all scripts of the page: the data, and a function that makes elements without parsing HTML.
"use strict";
const page = JSON.parse(document.getElementById("data").textContent);
const make = (tag, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
};
