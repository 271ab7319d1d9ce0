// Looks into the stored outcomes of every hand: a cell a hand, the same place in every arm. The data stand in the page.
"use strict";

(() => {
  const data = JSON.parse(document.getElementById("explorer-data").textContent);
  const at = (name) => document.getElementById(`explorer-${name}`);
  const COLOURS = { Init: [110, 110, 110], SFT: [213, 94, 0], RL: [0, 114, 178] };
  const SIDE = 12, COLUMNS = 20;
  const chosen = { hand: null };

  const set = () => data.sets[at("set").value];
  // A checkpoint of an arm at the slider's place: all arms end together.
  const moment = (arm, place) => Math.min(place, data.compute[arm].length - 1);
  const share = (measure, arm, place, i) => {
    const code = set().shares[measure][arm][moment(arm, place)].charCodeAt(i);
    return code === 32 ? null : (code - 33) / data.levels;
  };
  const percent = (x) => (x === null ? "not asked" : `${Math.round(100 * x)} %`);
  const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;

  function paint() {
    const measure = at("measure").value, place = Number(at("time").value), hands = set().hands;
    for (const arm of data.arms) {
      const box = document.getElementById(`explorer-arm-${arm}`), known = [];
      box.querySelectorAll("rect").forEach((cell, i) => {
        const x = share(measure, arm, place, i);
        if (x !== null) known.push(x);
        cell.setAttribute("fill", x === null ? "none" : `rgb(${COLOURS[arm].join(" ")} / ${0.08 + 0.92 * x})`);
        cell.classList.toggle("chosen", hands[i] === chosen.hand);
      });
      const said = known.length ? `${percent(mean(known))} of ${known.length} hands` : "not asked";
      box.querySelector("p").textContent = `${said}, after ${data.compute[arm][moment(arm, place)].toLocaleString("en")} GFLOP`;
      box.querySelector("svg").setAttribute("aria-label", `${arm}: ${said}`);
    }
    about();
  }

  function about() {
    const i = set().hands.indexOf(chosen.hand), [count, ...found] = set().solutions[i];
    const rows = data.arms.map((arm) => {
      const cells = data.compute[arm].map((_, place) => share(at("measure").value, arm, place, i));
      return `<tr><th scope="row">${arm}</th>${cells.map((x) => `<td>${x === null ? "·" : Math.round(100 * x)}</td>`).join("")}</tr>`;
    });
    const more = count > found.length ? ` and ${count - found.length} more` : "";
    at("about").innerHTML =
      `<p><strong>${chosen.hand}</strong>: the numbers ${set().numbers[i].join(", ")}${set().kinds ? `, ${set().kinds[i]}` : ""}. ` +
      `${count} ${count === 1 ? "solution" : "solutions"}: <code>${found.join("</code>, <code>")}</code>${more}.</p>` +
      `<div class="explorer-scroll"><table><caption>${data.measures[at("measure").value]}, in percent, checkpoint by checkpoint ` +
      `(· not asked)</caption><tbody>${rows.join("")}</tbody></table></div>`;
    at("hand").value = chosen.hand;
  }

  function choose(hand) {
    chosen.hand = hand;
    paint();
  }

  function rebuild() {
    const hands = set().hands, rows = Math.ceil(hands.length / COLUMNS);
    at("hand").replaceChildren(...hands.map((hand) => new Option(hand, hand)));
    at("arms").replaceChildren(
      ...data.arms.map((arm) => {
        const box = document.createElement("div");
        box.id = `explorer-arm-${arm}`;
        const cells = hands.map(
          (hand, i) =>
            `<rect x="${(i % COLUMNS) * SIDE}" y="${Math.floor(i / COLUMNS) * SIDE}" width="${SIDE - 1}" height="${SIDE - 1}" data-hand="${hand}"><title>${hand}</title></rect>`
        );
        box.innerHTML = `<h3>${arm}</h3><p></p><svg role="img" viewBox="0 0 ${COLUMNS * SIDE} ${rows * SIDE}">${cells.join("")}</svg>`;
        return box;
      })
    );
    choose(hands[0]);
  }

  Object.assign(at("about"), { tabIndex: 0, role: "region", ariaLabel: "The chosen hand" }); // it may have to scroll
  at("still").hidden = true;
  document.getElementById("explorer").hidden = false;
  at("set").addEventListener("change", rebuild);
  for (const name of ["measure", "time"]) at(name).addEventListener("input", paint);
  at("hand").addEventListener("change", () => choose(at("hand").value));
  at("arms").addEventListener("click", (event) => event.target.dataset.hand && choose(event.target.dataset.hand));
  rebuild();
})();
