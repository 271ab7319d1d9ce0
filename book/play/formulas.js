// Formulas: parse, evaluate exactly, solve. A port of lib/posttrain/formulas.py, with the same refusals.
(() => {
"use strict";

const REASONS = {
  illegal: "it contains an illegal character",
  number: "a number is out of place",
  operator: "an operator is out of place",
  bracket: "a bracket is out of place",
  length: "it is too long",
  depth: "it has too many brackets",
  zero: "a number has a leading zero",
  division: "it divides by zero",
  empty: "it is empty",
};
const LONGEST = 200, DEEPEST = 20;
const PRECEDENCE = { "+": 1, "-": 1, "*": 2, "/": 2 };

class FormulaError extends Error {}

// --- fractions: [numerator, denominator] of BigInts, in lowest terms, the denominator above 0 ---

function fraction(n, d = 1n) {
  if (d < 0n) [n, d] = [-n, -d];
  let [a, b] = [n < 0n ? -n : n, d];
  while (b) [a, b] = [b, a % b];
  return [n / a, d / a];
}

function combine(operator, [a, b], [c, d]) {
  if (operator === "+") return fraction(a * d + c * b, b * d);
  if (operator === "-") return fraction(a * d - c * b, b * d);
  if (operator === "*") return fraction(a * c, b * d);
  if (!c) throw new FormulaError(REASONS.division);
  return fraction(a * d, b * c);
}

const shown = ([n, d]) => (d === 1n ? `${n}` : `${n}/${d}`);

// --- parsing ---

function tokenize(text) {
  if ([...text].length > LONGEST) throw new FormulaError(REASONS.length);
  const tokens = [], pattern = /[ \t\n]*([0-9]+|[-+*/()])/y, stripped = text.replace(/[ \t\n]+$/, "").length;
  while (pattern.lastIndex < stripped) {
    const found = pattern.exec(text);
    if (!found) throw new FormulaError(REASONS.illegal);
    if (found[1].length > 1 && found[1][0] === "0") throw new FormulaError(REASONS.zero);
    tokens.push(found[1]);
  }
  if (!tokens.length) throw new FormulaError(REASONS.empty);
  return tokens;
}

// A tree is a BigInt or [operator, left, right].
function parse(text) {
  const tokens = [...tokenize(text), ""];
  let at = 0;
  const isNumber = (token) => token !== "" && token[0] >= "0" && token[0] <= "9";

  function wrong() {
    const token = tokens[at];
    if (token === "") return new FormulaError(tokens[at - 1] in PRECEDENCE ? REASONS.operator : REASONS.bracket);
    return new FormulaError(isNumber(token) ? REASONS.number : token in PRECEDENCE ? REASONS.operator : REASONS.bracket);
  }

  function operand(depth) {
    if (isNumber(tokens[at])) return BigInt(tokens[at++]);
    if (tokens[at] !== "(") throw wrong();
    if (depth >= DEEPEST) throw new FormulaError(REASONS.depth);
    at++;
    const tree = binary(depth + 1, 1);
    if (tokens[at] !== ")") throw wrong();
    at++;
    return tree;
  }

  function binary(depth, precedence) {
    let tree = precedence > 2 ? operand(depth) : binary(depth, precedence + 1);
    while (precedence <= 2 && PRECEDENCE[tokens[at]] === precedence) {
      const operator = tokens[at++];
      tree = [operator, tree, binary(depth, precedence + 1)];
    }
    return tree;
  }

  const tree = binary(0, 1);
  if (tokens[at] !== "") throw wrong();
  return tree;
}

const numbersOf = (tree) => (Array.isArray(tree) ? [...numbersOf(tree[1]), ...numbersOf(tree[2])] : [tree]);
const valueOf = (tree) => (Array.isArray(tree) ? combine(tree[0], valueOf(tree[1]), valueOf(tree[2])) : [tree, 1n]);

// --- solving: one formula that makes the target, or null ---

function solve(numbers, target = 24) {
  const goal = BigInt(target);
  function search(entries) {
    if (entries.length === 1) return entries[0].value[0] === goal && entries[0].value[1] === 1n ? entries[0].text : null;
    for (let i = 0; i < entries.length; i++)
      for (let j = 0; j < entries.length; j++) {
        if (i === j) continue;
        const rest = entries.filter((_, k) => k !== i && k !== j), [a, b] = [entries[i], entries[j]];
        for (const operator of "+*-/") {
          if ((operator === "+" || operator === "*") && j < i) continue;
          if (operator === "/" && !b.value[0]) continue;
          const found = search([...rest, { value: combine(operator, a.value, b.value), text: `(${a.text}${operator}${b.text})` }]);
          if (found) return found;
        }
      }
    return null;
  }
  const found = search(numbers.map((n) => ({ value: [BigInt(n), 1n], text: `${n}` })));
  return found && (numbers.length > 1 ? found.slice(1, -1) : found);
}

globalThis.Formulas = { FormulaError, parse, numbersOf, valueOf, shown, solve };
})();
