// The page "Play the model": four cards and a rule are put to all arms, whose answers come in token by token.
(() => {
"use strict";

const RULES = { "10": [10, 10, 10], "11/12/13": [11, 12, 13], "5/7/9": [5, 7, 9] };
const $ = (id) => document.getElementById(id);
const make = (tag, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
};
const pause = () => new Promise((resolve) => setTimeout(resolve));
const percent = (share) => `${(100 * share).toFixed(share > 0.995 || share < 0.005 ? 2 : 0)} %`;

let data, words, models = {}, playing = 0; // playing: the number of the last game; older ones stop

// --- what is asked ---

const ranks = () => [0, 1, 2, 3].map((i) => $(`play-card-${i}`).value);

function rule() {
  const chosen = $("play-rule").value;
  if (chosen !== "own") return RULES[chosen];
  return ["J", "Q", "K"].map((face) => Math.min(99, Math.max(1, Math.round(Number($(`play-${face}`).value)) || 10)));
}

// Whether the training under "J, Q, K count as 10" met these numbers.
function history(numbers) {
  const sorted = [...numbers].sort((a, b) => a - b);
  if (sorted[3] > 10) return ["never", "A number above 10: the training had none."];
  if (data.held_out.some((hand) => hand.every((n, i) => n === sorted[i])))
    return ["held", "Held out: no hand with these four numbers was in the training."];
  return ["trained", "These four numbers were in the training."];
}

function describe() {
  const numbers = Verifier.numbersUnder(rule(), ranks()).map(Number), solution = Formulas.solve(numbers);
  const [kind, text] = history(numbers), badge = $("play-badge");
  badge.className = `play-badge ${solution ? kind : "unsolvable"}`;
  badge.textContent = solution ? text : `No formula makes 24 from ${numbers.join(", ")}.`;
  $("play-own").hidden = $("play-rule").value !== "own";
  $("play-seed").disabled = $("play-how").value === "greedy";
  $("play-solution").textContent = solution ? `One solution: ${solution} = 24` : "There is no solution; the models do not know that.";
  return solution;
}

function deal() {
  do for (let i = 0; i < 4; i++) $(`play-card-${i}`).value = Verifier.RANKS[Math.floor(Math.random() * 13)];
  while (!describe());
}

// --- what is answered ---

// The token under the pointer, or chosen with the arrow keys: its probability, and what it looked at.
function point(token, said, prompt) {
  for (const old of document.querySelectorAll(".play-token.chosen")) old.classList.remove("chosen");
  token.classList.add("chosen");
  let onRule = 0;
  prompt.spans.forEach((span, i) => {
    const share = said.attention[i] ?? 0;
    if (prompt.inRule[i]) onRule += share;
    span.style.setProperty("--share", Math.min(1, 6 * share).toFixed(3));
  });
  $("play-said").textContent = `“${token.textContent}”: probability ${percent(said.probability)}; ` +
    `${percent(onRule)} of its attention is on the sentence with the rule.`;
  reveal(prompt.spans[prompt.inRule.indexOf(true)]);
}

// The sentence with the rule comes to the upper edge of the prompt's box, which may be too low for the whole prompt.
function reveal(first) {
  if (first) $("play-prompt").scrollTop = first.offsetTop;
}

function show(answer, said, prompt) {
  const text = words.decode([said.id]);
  if (!text) return;
  const token = make("span", { className: "play-token", textContent: text, title: percent(said.probability) });
  token.style.setProperty("--doubt", (1 - said.probability).toFixed(3));
  token.addEventListener("pointerenter", () => point(token, said, prompt));
  token.said = said;
  answer.append(token);
}

function arrows(answer, prompt) {
  answer.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key], tokens = [...answer.children];
    if (!step || !tokens.length) return;
    event.preventDefault();
    const at = tokens.findIndex((token) => token.classList.contains("chosen"));
    const next = tokens[Math.min(tokens.length - 1, Math.max(0, at + step))];
    point(next, next.said, prompt);
  });
}

function write(text) {
  const spans = [], inRule = [], ids = words.encode(text), box = $("play-prompt");
  const from = text.indexOf(data.prompt.rule[0]), to = text.indexOf(data.prompt.cards[0]);
  let at = 0;
  box.replaceChildren();
  for (const id of ids) {
    const piece = words.decode([id]), span = make("span", { textContent: piece });
    const where = piece ? text.indexOf(piece, at) : at;
    inRule.push(piece !== "" && where >= from && where < to);
    at = where + piece.length;
    spans.push(span);
    box.append(span);
  }
  return { ids, spans, inRule };
}

// One arm's dialogue: answers, each with the verifier's message, until one is right or all tries are used.
async function play(arm, game, prompt) {
  const list = $(`play-${arm}`), model = (models[arm] ??= Play.model(data, arm)), memory = model.fresh();
  const random = $("play-how").value === "greedy" ? null : Play.seeded(Number($("play-seed").value));
  const hand = ranks(), counts = rule(), began = performance.now();
  let unread = prompt.ids, tokens = 0;
  list.replaceChildren();
  for (let attempt = 1; attempt <= data.tries; attempt++) {
    const answer = make("code", { tabIndex: 0 }), verdict = make("span", { className: "play-verdict", textContent: "…" });
    answer.setAttribute("aria-label", `${arm}, answer ${attempt}; arrow keys go from token to token`);
    arrows(answer, prompt);
    list.append(make("li", {}, answer, verdict));
    const ids = [];
    for (const said of model.answer(unread, memory, data.end, data.most, random)) {
      ids.push(said.id);
      show(answer, said, prompt);
      if (++tokens % 6 === 0) await pause();
      if (game !== playing) return;
    }
    const judged = Verifier.judge(words.decode(ids), hand, counts);
    performance.mark("play-first"); // the first of this name is the first answer (a test reads it)
    verdict.textContent = judged.correct ? "✓ right" : `✗ ${judged.message}` + (judged.fake ? " (it would be right if J, Q, K were 10)" : "");
    verdict.classList.add(judged.correct ? "right" : "wrong");
    await pause();
    if (judged.correct) break;
    const ended = ids[ids.length - 1] === data.end ? "" : data.end_text;
    unread = words.encode(ended + Play.feedback(data, judged.message));
  }
  list.dataset.speed = Math.round((1000 * tokens) / (performance.now() - began));
}

async function start(event) {
  event?.preventDefault();
  const game = ++playing;
  describe();
  const prompt = write(Play.opening(data, ranks(), rule()));
  for (const arm of Object.keys(data.arms)) {
    await pause();
    if (game === playing) await play(arm, game, prompt);
  }
  if (game === playing) $("play").dataset.done = game;
}

function prepare() {
  data = globalThis.PLAY_DATA;
  words = new Play.Tokenizer(data.tokenizer);
  for (let i = 0; i < 4; i++)
    $(`play-card-${i}`).append(...Verifier.RANKS.map((rank) => make("option", { textContent: rank })));
  ["5", "A", "K", "2"].forEach((rank, i) => { $(`play-card-${i}`).value = rank; });
  $("play-arms").append(...Object.keys(data.arms).map((arm) =>
    make("section", {}, make("h3", { textContent: arm }), make("ol", { id: `play-${arm}` }))));
  $("play-form").addEventListener("submit", start);
  $("play-form").addEventListener("input", describe);
  $("play-deal").addEventListener("click", () => { deal(); start(); });
  $("play").hidden = false;
  $("play-still").hidden = true;
  start();
}

document.addEventListener("DOMContentLoaded", prepare);
})();
