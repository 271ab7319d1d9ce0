// A Llama in plain JavaScript: half-precision weights, adapters, rotary positions, a key-value cache.
//
// One token at a time: for each of the layers, attention over all tokens so far, then a gated network; in the
// end the similarity to every token's embedding is its score. This is all that a Llama is.
(() => {
"use strict";

// --- weights ---

function bytesOf(base64) {
  const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  const value = new Uint8Array(128), text = base64.replace(/=+$/, "");
  for (let i = 0; i < 64; i++) value[digits.charCodeAt(i)] = i;
  const bytes = new Uint8Array(Math.floor((text.length * 3) / 4));
  for (let i = 0, at = 0, buffer = 0, bits = 0; i < text.length; i++) {
    buffer = ((buffer << 6) | value[text.charCodeAt(i)]) & 0xffff;
    bits += 6;
    if (bits >= 8) bytes[at++] = buffer >> (bits -= 8);
  }
  return bytes;
}

function halves(base64) {
  // Half-precision numbers (5 bits of exponent, 10 of fraction) as 32-bit ones.
  const bytes = bytesOf(base64), count = bytes.length / 2, numbers = new Float32Array(count);
  for (let i = 0; i < count; i++) {
    const bits = bytes[2 * i] | (bytes[2 * i + 1] << 8);
    const sign = bits & 0x8000 ? -1 : 1, exponent = (bits >> 10) & 31, fraction = bits & 1023;
    numbers[i] = sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -14 * (fraction / 1024));
  }
  return numbers;
}

// Weights by name, cut out of one array: each entry of `shapes` is [name, rows, columns].
function unpack(shapes, base64) {
  const all = halves(base64), weights = {};
  let at = 0;
  for (const [name, rows, columns] of shapes) {
    weights[name] = { rows, columns, data: all.subarray(at, at + rows * columns) };
    at += rows * columns;
  }
  return weights;
}

// weights + scale * B A for every layer that the adapter has: what training added.
function adapt(weights, adapter, scale) {
  const merged = { ...weights };
  for (const name of Object.keys(adapter).filter((one) => one.endsWith(".A")).map((one) => one.slice(0, -2))) {
    const { rows, columns, data } = merged[name], A = adapter[`${name}.A`], B = adapter[`${name}.B`];
    const sum = Float32Array.from(data);
    for (let i = 0; i < rows; i++)
      for (let r = 0; r < A.rows; r++) {
        const b = scale * B.data[i * A.rows + r];
        for (let j = 0; j < columns; j++) sum[i * columns + j] += b * A.data[r * columns + j];
      }
    merged[name] = { rows, columns, data: sum };
  }
  return merged;
}

// --- one layer's parts ---

function multiply({ rows, columns, data }, x) {
  const y = new Float32Array(rows);
  for (let i = 0, at = 0; i < rows; i++, at += columns) {
    let a = 0, b = 0, c = 0, d = 0;
    for (let j = 0; j < columns; j += 4) {
      a += data[at + j] * x[j];
      b += data[at + j + 1] * x[j + 1];
      c += data[at + j + 2] * x[j + 2];
      d += data[at + j + 3] * x[j + 3];
    }
    y[i] = a + b + (c + d);
  }
  return y;
}

function normalized(x, { data }, epsilon) {
  let squares = 0;
  for (let i = 0; i < x.length; i++) squares += x[i] * x[i];
  const scale = 1 / Math.sqrt(squares / x.length + epsilon), y = new Float32Array(x.length);
  for (let i = 0; i < x.length; i++) y[i] = x[i] * scale * data[i];
  return y;
}

function softmax(x) {
  let most = -Infinity, sum = 0;
  for (const value of x) most = Math.max(most, value);
  const y = new Float32Array(x.length);
  for (let i = 0; i < x.length; i++) sum += y[i] = Math.exp(x[i] - most);
  for (let i = 0; i < x.length; i++) y[i] /= sum;
  return y;
}

// --- the model ---

class Llama {
  // config: layers, heads, hidden, epsilon, theta; weights: as `unpack` makes them.
  constructor(config, weights) {
    Object.assign(this, { config, weights });
  }

  // A dialogue's memory: keys and values of every layer. The model itself never changes.
  fresh() {
    return { length: 0, keys: this.each(() => []), values: this.each(() => []), attention: null };
  }

  each(make) {
    return Array.from({ length: this.config.layers }, make);
  }

  rotate(x, position) {
    const { heads, hidden, theta } = this.config, width = hidden / heads, half = width / 2;
    for (let pair = 0; pair < half; pair++) {
      const angle = position * theta ** (-pair / half), cosine = Math.cos(angle), sine = Math.sin(angle);
      for (let head = 0; head < heads; head++) {
        const i = head * width + pair, j = i + half, [a, b] = [x[i], x[j]];
        x[i] = a * cosine - b * sine;
        x[j] = b * cosine + a * sine;
      }
    }
    return x;
  }

  // Reads a token into the memory; returns its hidden state. memory.attention: how much this token looked at
  // each token so far, the mean over layers and heads.
  read(token, memory) {
    const { heads, hidden, epsilon } = this.config, width = hidden / heads, W = this.weights;
    const embeddings = W.embeddings.data, position = memory.length++;
    let x = Float32Array.from(embeddings.subarray(token * hidden, (token + 1) * hidden));
    memory.attention = new Float32Array(position + 1);
    this.each((_, layer) => {
      const part = (name) => W[`${layer}.${name}`];
      const seen = normalized(x, part("before_attention"), epsilon);
      const query = this.rotate(multiply(part("q"), seen), position);
      memory.keys[layer].push(this.rotate(multiply(part("k"), seen), position));
      memory.values[layer].push(multiply(part("v"), seen));
      const mixed = new Float32Array(hidden), scores = new Float32Array(position + 1);
      for (let head = 0; head < heads; head++) {
        const from = head * width, to = from + width;
        for (let t = 0; t <= position; t++) {
          const key = memory.keys[layer][t];
          let sum = 0;
          for (let i = from; i < to; i++) sum += query[i] * key[i];
          scores[t] = sum / Math.sqrt(width);
        }
        const shares = softmax(scores);
        for (let t = 0; t <= position; t++) {
          const value = memory.values[layer][t], share = shares[t];
          for (let i = from; i < to; i++) mixed[i] += share * value[i];
          memory.attention[t] += share / (heads * this.config.layers);
        }
      }
      const attended = multiply(part("o"), mixed);
      for (let i = 0; i < hidden; i++) x[i] += attended[i];
      const read = normalized(x, part("before_network"), epsilon);
      const gate = multiply(part("gate"), read), up = multiply(part("up"), read);
      for (let i = 0; i < gate.length; i++) gate[i] = (gate[i] / (1 + Math.exp(-gate[i]))) * up[i];
      const down = multiply(part("down"), gate);
      for (let i = 0; i < hidden; i++) x[i] += down[i];
    });
    return x;
  }

  scores(x) {
    return multiply(this.weights.embeddings, normalized(x, this.weights.last, this.config.epsilon));
  }

  // Reads `tokens`, then draws until `end` or `most` tokens: {id, probability, attention} each.
  // random: a function for numbers in [0, 1); none for the likeliest token.
  *answer(tokens, memory, end, most, random = null) {
    let x;
    for (const token of tokens) x = this.read(token, memory);
    for (let drawn = 0; drawn < most; drawn++) {
      const scores = this.scores(x), shares = softmax(scores);
      let id = 0;
      if (random) {
        let left = random();
        for (id = 0; id < shares.length - 1 && left >= shares[id]; id++) left -= shares[id];
      } else for (let i = 1; i < scores.length; i++) if (scores[i] > scores[id]) id = i;
      const attention = memory.attention;
      x = this.read(id, memory);
      yield { id, probability: shares[id], attention };
      if (id === end) return;
    }
  }
}

// --- text to tokens and back: single bytes, and phrases that are one token ---

class Tokenizer {
  // phrases: [text, id, whether it marks a turn] of the longer tokens; bytes: the id of each byte.
  constructor({ phrases, bytes }) {
    this.ids = new Map(phrases.map(([text, id]) => [text, id]));
    this.bytes = bytes;
    this.pieces = new Map(bytes.map((id, byte) => [id, [byte]]));
    const escaped = phrases.map(([text]) => text).sort((a, b) => b.length - a.length);
    this.pattern = new RegExp(escaped.map((text) => text.replace(/[.*+?^${}()|[\]\\/]/g, "\\$&")).join("|"), "g");
    const encoder = new TextEncoderOf();
    for (const [text, id, mark] of phrases) this.pieces.set(id, mark ? [] : encoder.encode(text));
    this.encoder = encoder;
  }

  encode(text) {
    const ids = [];
    let at = 0;
    const spell = (part) => ids.push(...this.encoder.encode(part).map((byte) => this.bytes[byte]));
    for (const found of text.matchAll(this.pattern)) {
      spell(text.slice(at, found.index));
      ids.push(this.ids.get(found[0]));
      at = found.index + found[0].length;
    }
    spell(text.slice(at));
    return ids;
  }

  // Marks of turns are left out.
  decode(ids) {
    return this.encoder.decode(ids.flatMap((id) => this.pieces.get(id)));
  }
}

// UTF-8, also where an engine has no TextEncoder.
class TextEncoderOf {
  encode(text) {
    return [...unescape(encodeURIComponent(text))].map((c) => c.charCodeAt(0));
  }

  decode(bytes) {
    if (typeof TextDecoder !== "undefined") return new TextDecoder().decode(new Uint8Array(bytes));
    let text = "";
    for (const byte of bytes) text += String.fromCharCode(byte);
    try {
      return decodeURIComponent(escape(text));
    } catch {
      return text.replace(/[\x80-\xff]+/g, "\ufffd");
    }
  }
}

// A seeded generator of numbers in [0, 1) (mulberry32).
function seeded(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

// --- from the page's data: the model of an arm, and the words of a dialogue ---

function model(data, arm) {
  let weights = unpack(data.base.shapes, data.base.data);
  for (const name of data.arms[arm]) {
    const { shapes, data: numbers, scale } = data.adapters[name];
    weights = adapt(weights, unpack(shapes, numbers), scale);
  }
  return new Llama(data.config, weights);
}

// The prompt: `ranks` are the cards, `rule` is what J, Q and K count as.
function opening(data, ranks, rule, target = 24) {
  const { task, rule: words, cards } = data.prompt;
  const sentence = words.map((phrase, i) => phrase + (rule[i] ?? "")).join("");
  return data.turn.join(`${task[0]}${target}${task[1]}${sentence}${cards[0]}${ranks.join(", ")}${cards[1]}${task[2]}`);
}

// What the verifier's message adds to a dialogue behind an answer.
const feedback = (data, message) => data.turn.join(`${data.again[0]}${message}${data.again[1]}`);

globalThis.Play = { Llama, Tokenizer, model, opening, feedback, seeded };
})();
