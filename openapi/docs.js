"use strict";
// Without this script the page is a list; with it, the list can be searched.
const search = document.getElementById("search"), count = document.getElementById("count");
const operations = [...document.querySelectorAll("details")].map((at) => ({ at, text: (at.textContent + " " + at.id).toLowerCase() }));

function filter() {
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const { at, text } of operations) {
    at.hidden = !words.every((word) => text.includes(word));
    shown += at.hidden ? 0 : 1;
  }
  for (const section of document.querySelectorAll("section")) {
    section.hidden = !section.querySelector("details:not([hidden])");
  }
  count.textContent = words.length ? shown + " / " + operations.length : "";
}

function open() {
  const at = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (at && at.tagName === "DETAILS") {
    at.open = true;
    at.scrollIntoView();
  }
}

document.querySelector(".search").hidden = false;
search.value = new URLSearchParams(location.search).get("q") || "";
search.addEventListener("input", filter);
addEventListener("hashchange", open);
addEventListener("keydown", (event) => {
  if (event.key === "/" && document.activeElement !== search) {
    event.preventDefault();
    search.focus();
  }
});
filter();
open();
