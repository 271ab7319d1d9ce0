// The verifier of GeneralPoints: reads an answer out of a model's text and judges it. A port of
// lib/posttrain/verifiers/{answers,general_points}.py with feedback "informative", protocol "clean".
(() => {
"use strict";

const RANKS = ["A", "2", "3", "4", "5", "6", "7", "8", "9", "10", "J", "Q", "K"];
const ASKED = ["cards", "number", "formula"];
const LISTS = { cards: "text", number: "whole" };
const MAX_REPLY = 2000;
const NO_ANSWER = "the reply is not one JSON object with the fields cards, number and formula";
const NOT_TEXT = "the formula is not a text in double quotes";
const TWO_ANSWERS = "the reply holds more than one answer";
const TOO_LONG = "the reply is too long";
const REWARDS = { correct: 5, "wrong value": -1, "wrong numbers": -2, "not a formula": -3, "no answer": -3 };
// What Python calls white space.
const SPACE = "[ \\t-\\r\\x1c-\\x1f\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000]";

// --- JSON as Python reads it: whole numbers are BigInts, others are numbers, objects are Maps ---

function readJson(text) {
  let at = 0;
  const fail = () => { throw new SyntaxError("no JSON"); };
  const blank = () => { while (" \t\n\r".includes(text[at] ?? "x")) at++; };
  const words = { true: true, false: false, null: null, NaN: NaN, Infinity: Infinity, "-Infinity": -Infinity };

  function string() {
    const end = /"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"/y;
    end.lastIndex = at;
    const found = end.exec(text);
    if (!found) fail();
    at = end.lastIndex;
    return JSON.parse(found[0]);
  }

  function sequence(close, item) {
    at++;
    blank();
    if (text[at] === close) { at++; return; }
    for (;;) {
      item();
      blank();
      if (text[at] === close) { at++; return; }
      if (text[at] !== ",") fail();
      at++;
      blank();
    }
  }

  function value() {
    blank();
    if (text[at] === '"') return string();
    if (text[at] === "[") { const list = []; sequence("]", () => list.push(value())); return list; }
    if (text[at] === "{") {
      const map = new Map();
      sequence("}", () => {
        if (text[at] !== '"') fail();
        const key = string();
        blank();
        if (text[at] !== ":") fail();
        at++;
        map.set(key, value());
      });
      return map;
    }
    for (const word of Object.keys(words))
      if (text.startsWith(word, at)) { at += word.length; return words[word]; }
    const number = /-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?/y;
    number.lastIndex = at;
    const found = number.exec(text);
    if (!found) fail();
    at = number.lastIndex;
    return found[1] || found[2] ? Number(found[0]) : BigInt(found[0]);
  }

  const data = value();
  blank();
  if (at < text.length) fail();
  return data;
}

// --- reading an answer ---

function repeats(text) {
  const escape = /\\+(?:u([0-9a-fA-F]{4})|(["'/`])|[nrt])/g;
  while (text.search(escape) >= 0)
    text = text.replace(escape, (_, code, quote) => (code ? String.fromCharCode(parseInt(code, 16)) : quote || " "));
  const keys = text.matchAll(new RegExp(`["'\`“”‘’](${ASKED.join("|")})["'\`“”‘’]${SPACE}*:`, "gu"));
  const seen = new Set();
  for (const [, key] of keys) {
    if (seen.has(key)) return true;
    seen.add(key);
  }
  return false;
}

function oneObject(text) {
  let opened = "", objects = 0;
  const where = new Map(), pattern = new RegExp(`(["'])(?:${ASKED.join("|")})["']${SPACE}*:|[\\[\\]{}]`, "gu");
  for (const [mark, quote] of text.matchAll(pattern)) {
    if (quote) where.set([quote, opened, objects].join(" "), [quote, opened]);
    else if (mark === "{" || (mark === "[" && !opened)) {
      objects += opened ? 0 : 1;
      opened += mark;
    } else if (mark === "}" || opened === "[") opened = opened.slice(0, -1);
  }
  // As Python's text.find: -1, the last character, where there is no brace.
  const tail = text.includes("{") ? text.slice(text.indexOf("{")) : [...text].slice(-1).join("");
  const first = [...tail].find((c) => c === '"' || c === "'") ?? "";
  if (where.size !== 1) return false;
  const [quote, depth] = [...where.values()][0];
  return quote === first && depth === "{";
}

function loose(text, name, item) {
  const key = `["']${name}["']${SPACE}*:${SPACE}*`;
  if (!item) return [...text.matchAll(new RegExp(`${key}(?:"([^"]*)"|'([^']*)')`, "gu"))].map(([, a, b]) => a || b || "");
  const strip = (part) => part.replace(/^[ \n\t"']+|[ \n\t"']+$/g, "");
  const blank = new RegExp(`^${SPACE}*$`, "u");
  return [...text.matchAll(new RegExp(`${key}\\[([^\\]]*)\\]`, "gu"))].map(([, inside]) =>
    inside.split(",").filter((part) => !blank.test(part)).map(strip)
      .map((part) => (item === "whole" && /^[0-9]{1,3}$/.test(part) ? BigInt(part) : part)));
}

function typed(value, item) {
  if (!item) return typeof value === "string" ? value : null;
  const kind = item === "whole" ? "bigint" : "string";
  return Array.isArray(value) && value.every((one) => typeof one === kind) ? value : null;
}

function read(text) {
  let data = null, problem = "", doubt = "", json, isJson = true;
  if ([...text].length > MAX_REPLY) problem = TOO_LONG;
  else {
    try { json = readJson(text); } catch { isJson = false; }
    if (isJson) {
      if (repeats(text)) problem = TWO_ANSWERS;
      else if (json instanceof Map && json.has("formula")) data = json;
      else problem = NO_ANSWER;
    }
  }
  const strict = data !== null && [...data.keys()].join("\n") === ASKED.join("\n");
  if (data === null && !problem) {
    const values = new Map(ASKED.map((name) => [name, loose(text, name, LISTS[name])]));
    data = new Map([...values].filter(([, found]) => found.length).map(([name, found]) => [name, found[0]]));
    if (values.get("formula").length > 1) {
      data = new Map();
      problem = TWO_ANSWERS;
    } else if (!data.has("formula")) problem = text.includes("formula") ? NOT_TEXT : NO_ANSWER;
    doubt = repeats(text) ? TWO_ANSWERS : oneObject(text) ? "" : NO_ANSWER;
  }
  const fields = Object.fromEntries(ASKED.map((name) => [name, typed(data?.get(name), LISTS[name])]));
  if (fields.formula === null) problem = problem || NOT_TEXT;
  return { fields, problem, doubt, strict: strict && ASKED.every((name) => fields[name] !== null) };
}

// --- judging ---

const numbersUnder = (rule, ranks) => ranks.map((rank) => BigInt("JQK".includes(rank) ? rule["JQK".indexOf(rank)] : rank === "A" ? 1 : Number(rank)));
const ascending = (list) => [...list].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));
const same = (a, b) => a.length === b.length && a.every((one, i) => one === b[i]);

function without(list, taken) {
  const left = [...list];
  for (const one of taken) if (left.includes(one)) left.splice(left.indexOf(one), 1);
  return ascending(left);
}

function judgeExpression(expression, numbers, target) {
  try {
    const tree = Formulas.parse(expression), used = Formulas.numbersOf(tree);
    const invalid = without(used, numbers), missing = without(numbers, used);
    if (invalid.length || missing.length) {
      const complaints = [];
      if (invalid.length) complaints.push(`it must not use ${invalid.join(", ")}`);
      if (missing.length) complaints.push(`it leaves out ${missing.join(", ")}`);
      return ["wrong numbers", complaints.join(" and "), expression];
    }
    const value = Formulas.shown(Formulas.valueOf(tree));
    if (value === `${target}`) return ["correct", "", expression];
    return ["wrong value", `the formula makes ${value}`, expression];
  } catch (error) {
    if (!(error instanceof Formulas.FormulaError)) throw error;
    return ["not a formula", `the formula is not valid: ${error.message}`, null];
  }
}

function judgeReply(reply, numbers, target) {
  if (reply.problem) return ["no answer", reply.problem, null];
  const formula = reply.fields.formula, at = formula.indexOf("=");
  if (at >= 0 && formula.slice(at + 1).replace(/^[ \t\n]+|[ \t\n]+$/g, "") !== `${target}`)
    return ["not a formula", `the formula does not end in =${target}`, null];
  const judged = judgeExpression(at < 0 ? formula : formula.slice(0, at), numbers, target);
  return judged[0] === "correct" && reply.doubt ? ["no answer", reply.doubt, null] : judged;
}

// rule: what J, Q and K count as; ranks: the cards that were dealt.
function judge(text, ranks, rule, target = 24, oldRule = [10, 10, 10]) {
  const reply = read(text), { cards, number, formula } = reply.fields;
  const numbers = numbersUnder(rule, ranks), old = numbersUnder(oldRule, ranks);
  const [outcome, complaint, expression] = judgeReply(reply, numbers, target);
  const correct = outcome === "correct", inOrder = cards !== null && same(cards, ranks);
  const order = inOrder ? (list) => list : ascending;
  return {
    reward: REWARDS[outcome],
    message: correct ? "" : complaint,
    correct,
    strict: reply.strict && /=[0-9]+$/.test(formula),
    valid: ["correct", "wrong value", "wrong numbers"].includes(outcome),
    follows_rule: number !== null && same(order(number), order(numbers)),
    recognized: cards !== null && same(ascending(cards), ascending(ranks)),
    fake: !correct && expression !== null && !same(old, numbers) && judgeExpression(expression, old, target)[0] === "correct",
    outcome,
  };
}

globalThis.Verifier = { RANKS, judge, numbersUnder };
})();
