// Replays stored walks: a map, and what was asked, answered and judged at each point. The data stand in the page.
"use strict";

(() => {
  const data = JSON.parse(document.getElementById("replay-data").textContent);
  const at = (name) => document.getElementById(`replay-${name}`);
  const CHOICES = ["arm", "set", "route", "seed", "decoding"];
  const MARGIN = 70; // metres around a route
  let timer = null;

  // What models wrote is data: it becomes text, never markup.
  function make(tag, attributes = {}, ...inside) {
    const drawn = ["svg", "g", "line", "polyline", "circle", "path", "text", "title", "rect"].includes(tag);
    const made = drawn ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...inside);
    return made;
  }

  const set = () => data.sets[at("set").value];
  const route = () => set().routes[at("route").value];
  const chain = () => data.walks[at("set").value]?.[at("decoding").value]?.[at("seed").value];
  const walk = (arm) => chain()[arm][at("route").value];
  const point = () => Number(at("at").value) - 1;
  const place = (i) => {
    const [x, y, heading, word, instruction, seen, action] = route().points[i];
    return { x, y, heading, word, instruction, seen, action };
  };
  const right = (said) => said[said.length - 1][2] === 1;

  function end(said) {
    if (right(said)) return said.length === 1 ? "right" : "later";
    return !set().trained && said.some(([, , mark]) => mark === 2) ? "words" : "wrong";
  }

  // --- choosing ---------------------------------------------------------------------------------------------

  function fill() {
    // Routes that were walked in this set, repetition and way of answering.
    const before = at("route").value;
    const options = set().routes.flatMap((one, i) =>
      data.arms.every((arm) => chain()?.[arm]?.[i])
        ? [new Option(`${i + 1}: ${one.city}, ${one.corners.length - 1} legs, ${one.points.length} points`, i)]
        : []
    );
    at("route").replaceChildren(...options);
    if (options.some((option) => option.value === before)) at("route").value = before;
    at("at").max = route().points.length;
  }

  function go(number) {
    at("at").value = number + 1;
    show();
  }

  function begin(story) {
    stop();
    for (const name of ["set", "arm", "seed", "decoding"]) at(name).value = story[name];
    fill();
    at("route").value = story.route;
    at("at").max = route().points.length;
    draw();
    go(story.point - 1);
  }

  function changed(name) {
    stop();
    if (name !== "arm") {
      const same = route()?.label;
      fill();
      at("at").max = route().points.length;
      if (name === "route" || route().label !== same) at("at").value = 1;
    }
    draw();
    show();
  }

  function stop() {
    clearInterval(timer);
    timer = null;
    at("play").textContent = "Play";
    at("now").setAttribute("aria-live", "polite");
  }

  function play() {
    if (timer) return stop();
    if (point() === route().points.length - 1) go(0);
    at("play").textContent = "Pause";
    at("now").setAttribute("aria-live", "off"); // else it would be read out faster than one can listen
    timer = setInterval(() => (point() === route().points.length - 1 ? stop() : go(point() + 1)), 1400);
  }

  // --- the map ----------------------------------------------------------------------------------------------

  function draw() {
    const map = at("map"), width = map.clientWidth || 320, one = route(), city = data.cities[one.city];
    const xs = one.corners.map(([x]) => x), ys = one.corners.map(([, y]) => y);
    const low = [Math.min(...xs) - MARGIN, Math.min(...ys) - MARGIN], high = [Math.max(...xs) + MARGIN, Math.max(...ys) + MARGIN];
    const tallest = width < 420 ? 0.85 : 1.1; // on a telephone what is said stands below the map
    const height = Math.max(0.65 * width, Math.min(tallest * width, (width * (high[1] - low[1])) / (high[0] - low[0])));
    const scale = Math.min(width / (high[0] - low[0]), height / (high[1] - low[1]));
    const left = (width - scale * (high[0] - low[0])) / 2, top = (height - scale * (high[1] - low[1])) / 2;
    const px = (x) => left + (x - low[0]) * scale, py = (y) => top + (high[1] - y) * scale;
    map.setAttribute("viewBox", `0 0 ${width} ${height}`);
    map.style.height = `${height}px`;
    const streets = city.streets.map(([a, b, c, d]) => make("line", { class: "street", x1: px(a), y1: py(b), x2: px(c), y2: py(d) }));
    const path = make("polyline", { class: "route", points: one.corners.map(([x, y]) => `${px(x)},${py(y)}`).join(" ") });
    const inside = (x, y) => px(x) > 4 && px(x) < width - 4 && py(y) > 4 && py(y) < height - 4;
    const landmarks = city.landmarks
      .filter(([, x, y]) => inside(x, y))
      .flatMap(([name, x, y]) => {
        const named = one.named.includes(name), spot = `translate(${px(x)} ${py(y)}) rotate(45)`;
        const mark = make("rect", { class: named ? "landmark named" : "landmark", x: -3.5, y: -3.5, width: 7, height: 7, transform: spot }, make("title", {}, name));
        if (!named) return [mark];
        // The name stands away from the route, and within the map.
        const near = one.corners.reduce((a, b) => (Math.hypot(a[0] - x, a[1] - y) < Math.hypot(b[0] - x, b[1] - y) ? a : b));
        const room = 6.5 * name.length, east = px(x) + room > width ? false : px(x) - room < 0 ? true : x > near[0];
        const where = { x: px(x) + (east ? 8 : -8), y: py(y) + (y > near[1] ? -4 : 12), "text-anchor": east ? "start" : "end" };
        return [mark, make("text", where, name)];
      });
    const marks = one.points.flatMap(([x, y, , , , , action], i) => {
      const how = `replay-end ${end(walk(at("arm").value)[i])}`, large = action !== "forward()", title = make("title", {}, `point ${i + 1}`);
      if (!large) return [make("circle", { class: how, cx: px(x), cy: py(y), r: 5, "data-point": i }, title)];
      const shape = action === "stop()" ? make("rect", { class: how, x: px(x) - 10, y: py(y) - 10, width: 20, height: 20 }, title) : make("circle", { class: how, cx: px(x), cy: py(y), r: 11 }, title);
      shape.dataset.point = i;
      return [shape, make("text", { class: "number", x: px(x), y: py(y) + 4, "text-anchor": "middle" }, i + 1)];
    });
    const arrow = make("g", { id: "replay-here" }, make("circle", { r: 14.5 }), make("path", { d: "M0 -34 L8 -16 L0 -20 L-8 -16 Z" }));
    const north = make("text", { x: width - 8, y: 16, "text-anchor": "end", class: "north" }, "↑ north");
    map.replaceChildren(...streets, path, ...landmarks, ...marks, north, arrow);
    map.walker = (x, y, heading) => arrow.setAttribute("transform", `translate(${px(x)} ${py(y)}) rotate(${heading})`);
  }

  // --- what happened ----------------------------------------------------------------------------------------

  function table() {
    const rows = data.arms.map((arm) => {
      const ends = walk(arm).map(end), good = ends.filter((how) => how === "right" || how === "later").length;
      const cells = ends.map((how, i) => {
        const here = arm === at("arm").value && i === point() ? " here" : "";
        return make("td", { class: `replay-end ${how}${here}`, "data-arm": arm, "data-point": i, title: `${arm}, point ${i + 1}` }, data.symbols[how]);
      });
      const said = good === ends.length ? "finishes" : `${good} of ${ends.length} right`;
      const row = make("tr", arm === at("arm").value ? { class: "chosen" } : {}, make("th", { scope: "row" }, arm), ...cells, make("td", { class: "said" }, said));
      return row;
    });
    at("ends").replaceChildren(make("tbody", {}, ...rows));
    const here = at("ends").querySelector(".here"), box = at("ends").parentElement;
    if (box.scrollWidth > box.clientWidth) box.scrollLeft = here.offsetLeft - box.clientWidth / 2;
  }

  function field(name, said, truth) {
    const differs = said.trim() !== truth.trim();
    const row = [make("span", { class: "field" }, `${name}: `), make("code", {}, said || "(nothing)")];
    if (differs) row.push(make("span", { class: "differs" }, " ≠ what holds here"));
    return make("div", {}, ...row);
  }

  function reply([answer, message, mark], here) {
    const said = data.answers[answer], list = make("li");
    if (Array.isArray(said)) {
      list.append(field("sees", said[0], here.seen), field("instruction", said[1], route().sentences[here.instruction]));
      list.append(make("div", {}, make("span", { class: "field" }, "action: "), make("code", { class: "action" }, said[2])));
    } else {
      list.append(make("div", {}, make("span", { class: "field" }, "not in the form that was asked for: "), make("code", {}, said.text)));
      if (said.action) list.append(make("div", {}, make("span", { class: "field" }, "action read in it: "), make("code", { class: "action" }, said.action)));
    }
    const verdict = mark === 1 ? "✓ right" : `✗ The verifier: ${data.messages[message] || "wrong"}`;
    list.append(make("div", { class: mark === 1 ? "play-verdict right" : "play-verdict wrong" }, verdict));
    if (mark === 2) {
      const one = `an ${set().other} word under ${set().actions} actions`.replace("an relative", "a relative");
      list.append(make("div", {}, make("span", { class: "play-badge trained" }, `right only in the ${set().trained ? "other" : "trained"} words: ${one}`)));
    }
    return list;
  }

  function show() {
    const i = point(), arm = at("arm").value, here = place(i), said = walk(arm)[i], last = i === route().points.length - 1;
    const failed = walk(arm).findIndex((one) => !right(one));
    at("map").walker(here.x, here.y, here.heading);
    at("map").setAttribute("aria-label", `Map of the route; one stands at point ${i + 1} of ${route().points.length} and looks ${here.word}`);
    at("at").setAttribute("aria-valuetext", `point ${i + 1} of ${route().points.length}`);
    at("back").disabled = i === 0;
    at("on").disabled = last;
    table();
    const badge = set().trained ? ["trained", "the trained list"] : ["never", "never trained"];
    const facts = [
      ["Instruction", `${here.instruction + 1}. ${route().sentences[here.instruction]}`],
      ["In sight", here.seen.replace(/; $/, "")],
      ["Looking", `${here.word} (${here.heading}°)`],
    ].flatMap(([name, text]) => [make("dt", {}, name), make("dd", {}, text)]);
    const words = make("dd", {}, `forward(), stop(), or turn_direction(x) with x: ${set().words.join(", ")} `, make("span", { class: `play-badge ${badge[0]}` }, badge[1]));
    const parts = [
      make("p", { class: "replay-where" }, make("strong", {}, `Point ${i + 1} of ${route().points.length}${last ? ", the destination" : ""}`)),
      make("dl", {}, ...facts, make("dt", {}, "Actions"), words),
      make("p", { class: "replay-who" }, make("strong", {}, `${arm} answers`)),
      make("ol", {}, ...said.map((one) => reply(one, here))),
    ];
    if (!right(said)) {
      // Where one answer was allowed, the paper's episode has another one.
      const paper = said.length > 1 ? " The paper’s episode ends here." : " The paper’s episode ends here if a second answer is wrong too.";
      const behind = last ? "Here the route ends all the same." : "The evaluation goes on as if that had been the answer, to measure every point.";
      parts.push(make("p", {}, "Right was ", make("code", {}, here.action), `. ${behind}`, i === failed && !last ? paper : ""));
    } else if (failed >= 0 && failed < i && walk(arm)[failed].length > 1) {
      parts.push(make("p", {}, `The paper’s episode had ended at point ${failed + 1}.`));
    }
    at("now").replaceChildren(...parts);
    const sentences = route().sentences.map((sentence, n) => make("li", n === here.instruction ? { "aria-current": "step" } : {}, sentence));
    at("all").replaceChildren(...sentences);
  }

  // --- begin ------------------------------------------------------------------------------------------------

  at("still").hidden = true;
  document.getElementById("replay").hidden = false;
  at("decoding").closest("label").hidden = Object.keys(data.decodings).length < 2;
  at("seed").closest("label").hidden = data.seeds.length < 2;
  for (const story of data.stories) {
    const button = make("button", { type: "button" }, story.title);
    button.addEventListener("click", () => begin(story));
    at("stories").append(button);
  }
  at("stories").hidden = !data.stories.length;
  for (const name of CHOICES) at(name).addEventListener("change", () => changed(name));
  at("at").addEventListener("input", () => (stop(), show()));
  at("back").addEventListener("click", () => (stop(), go(point() - 1)));
  at("on").addEventListener("click", () => (stop(), go(point() + 1)));
  at("play").addEventListener("click", play);
  at("ends").addEventListener("click", ({ target: { dataset } }) => {
    if (!dataset.point) return;
    stop();
    at("arm").value = dataset.arm;
    draw();
    go(Number(dataset.point));
  });
  at("map").addEventListener("click", ({ target: { dataset } }) => dataset.point && (stop(), go(Number(dataset.point))));
  fill();
  if (data.stories.length) begin(data.stories[0]);
  else changed("route");
  let wide = at("map").clientWidth; // a map is drawn in pixels, for names that can be read at any width
  new ResizeObserver(() => {
    if (at("map").clientWidth === wide) return;
    wide = at("map").clientWidth;
    draw();
    show();
  }).observe(at("map"));
})();
