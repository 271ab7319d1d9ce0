// Boxes that scroll sideways can be reached by the keyboard and say what they are, as long as there is anything to scroll.
"use strict";

addEventListener("DOMContentLoaded", () => {
  const marks = (number) => ({ tabindex: "0", role: "region", "aria-label": `Picture ${number}, scrolls sideways` });
  const mark = ({ target }) => {
    const scrolls = target.scrollWidth > target.clientWidth + 1;
    for (const [name, value] of Object.entries(marks(boxes.indexOf(target) + 1)))
      if (scrolls) target.setAttribute(name, value);
      else target.removeAttribute(name);
  };
  const boxes = [...document.querySelectorAll(".wide")];
  const watch = new ResizeObserver((seen) => seen.forEach(mark));
  for (const box of boxes) {
    watch.observe(box);
    box.querySelector("img").addEventListener("load", () => mark({ target: box }));
  }
});
