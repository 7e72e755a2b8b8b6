"use strict";
// The label page: two films, one answer, and what the answers did. Nothing here is fetched from elsewhere.

const TOKEN = new URLSearchParams(location.search).get("token") || "";
const by = id => document.getElementById(id);
const random = () => [...crypto.getRandomValues(new Uint8Array(16))].map(x => x.toString(16).padStart(2, "0")).join("");
const pause = seconds => new Promise(done => {
  const end = () => { clearTimeout(timer); removeEventListener("online", end); done(); };
  const timer = setTimeout(end, 1000 * seconds);
  addEventListener("online", end);
});
const SAID = { left: "left is better", right: "right is better", equal: "equally good", cannot_tell: "can’t tell" };
const store = {  // a browser may forbid it
  get(kind, key) { try { return window[kind].getItem(key); } catch { return null; } },
  set(kind, key, value) {
    try { value === null ? window[kind].removeItem(key) : window[kind].setItem(key, value); } catch { /* forgotten */ }
  },
};

// ---- Films -------------------------------------------------------------------------------------------------------

const colours = () => {
  const style = getComputedStyle(document.documentElement);
  return Object.fromEntries(["box", "wall", "trail", "goal", "agent", "ink", "soft", "paper"].map(
    name => [name, style.getPropertyValue(`--${name}`).trim()]));
};

const FILMS = {  // kind: how many frames, what is drawn once, what is drawn for a frame, and the same in words
  maze: {
    frames: clip => clip.path.length,
    still(pen, clip, side, colour) {
      const edge = line => Math.round(line * side / clip.size);  // whole pixels: no seams between walls
      const square = (number, fill) => {
        const [row, column] = [Math.floor(number / clip.size), number % clip.size];
        pen.fillStyle = fill;
        pen.fillRect(edge(column), edge(row), edge(column + 1) - edge(column), edge(row + 1) - edge(row));
      };
      clip.walls.forEach(number => square(number, colour.wall));
      square(clip.goal, colour.goal);
    },
    moving(pen, clip, side, colour, frame) {
      const cell = side / clip.size, middle = number =>
        [(number % clip.size + 0.5) * cell, (Math.floor(number / clip.size) + 0.5) * cell];
      const trail = clip.path.slice(0, frame + 1).map(middle);
      pen.strokeStyle = colour.trail;
      pen.lineWidth = Math.max(2, cell * 0.22);
      pen.lineJoin = pen.lineCap = "round";
      pen.beginPath();
      trail.forEach(place => pen.lineTo(...place));
      pen.stroke();
      pen.fillStyle = colour.trail;
      dot(pen, trail[0], Math.max(2, cell * 0.22));
      pen.fillStyle = colour.agent;
      dot(pen, trail.at(-1), Math.max(3, cell * 0.38));
    },
    words(clip) {
      const place = number => `row ${Math.floor(number / clip.size) + 1}, column ${number % clip.size + 1}`;
      const [first, last] = [clip.path[0], clip.path.at(-1)];
      const end = last === clip.goal ? "on the goal" : `at ${place(last)}; the goal is at ${place(clip.goal)}`;
      return `${count(clip.path.length - 1, "move")} in a maze of ${clip.size} by ${clip.size}, ` +
        `from ${place(first)}, ending ${end}`;
    },
  },
  shapes: {
    frames: clip => clip.frames.length,
    still() {},
    moving(pen, clip, side, colour, frame) {
      for (const shape of clip.frames[frame]) drawShape(pen, shape, side, colour);
    },
    words(clip) {
      const places = clip.frames.map(agentPlace).filter(place => place), text = count(clip.frames.length, "frame");
      if (!places.length) return `${text} of moving shapes`;
      const percent = share => `${Math.round(100 * share)} %`;
      const [[x, y], [endX, endY]] = [places[0], places.at(-1)];
      return `${text}; what the agent moves begins ${percent(x)} across and ${percent(y)} up, ` +
        `ends ${percent(endX)} across and ${percent(endY)} up, ` +
        `and is ${percent(Math.max(...places.map(place => place[1])))} up at the highest`;
    },
  },
  images: {
    frames: clip => clip.frames.length,
    still() {},
    moving(pen, clip, side, colour, frame, again) {
      clip.pictures ??= clip.frames.map(text => Object.assign(new Image(), { src: `data:image/png;base64,${text}` }));
      const picture = clip.pictures[frame];
      if (!picture.complete) return picture.addEventListener("load", again, { once: true });
      const scale = side / Math.max(picture.width, picture.height, 1);
      const [width, height] = [picture.width * scale, picture.height * scale];
      pen.imageSmoothingEnabled = scale < 2;
      if (width) pen.drawImage(picture, (side - width) / 2, (side - height) / 2, width, height);
    },
    words: clip => count(clip.frames.length, "picture"),
  },
};

// The middle of what has the agent's colour in a frame, across and up; none where nothing has.
function agentPlace(shapes) {
  const points = shapes.filter(shape => shape.colour === "agent").flatMap(shape => shape.points || [shape.centre]);
  return points.length ? [0, 1].map(axis => points.reduce((sum, point) => sum + point[axis], 0) / points.length) : null;
}

function dot(pen, [x, y], radius) {
  pen.beginPath();
  pen.arc(x, y, radius, 0, 2 * Math.PI);
  pen.fill();
}

function count(number, word) {
  return `${number} ${word}${number === 1 ? "" : "s"}`;
}

// A line, circle or polygon in the unit square, whose origin is the lower left corner.
function drawShape(pen, shape, side, colour) {
  const place = ([x, y]) => [x * side, (1 - y) * side];
  pen.fillStyle = pen.strokeStyle = colour[shape.colour] || colour.ink;
  pen.lineWidth = Math.max(1, (shape.width ?? 0.008) * side);
  pen.lineJoin = pen.lineCap = "round";
  pen.beginPath();
  if (shape.kind === "circle") pen.arc(...place(shape.centre), shape.radius * side, 0, 2 * Math.PI);
  else shape.points.forEach(point => pen.lineTo(...place(point)));
  if (shape.kind === "polygon") pen.closePath();
  if (shape.kind === "line") pen.stroke();
  else pen.fill();
}

const HOLD = 0.8;  // seconds that the last frame stays

// One clock for several films: they start together, and a shorter one waits on its last frame.
class Player {
  constructor(canvases, moved = () => {}) {
    this.canvases = canvases;
    this.moved = moved;
    this.clips = [];
    this.following = null;
    this.frames = 1;
    this.speed = 1;
    this.position = 0;
    this.playing = false;
    this.then = 0;
    const watcher = new ResizeObserver(() => this.draw());
    canvases.forEach(canvas => watcher.observe(canvas));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  load(clips) {
    this.clips = clips.map(clip => ({ ...clip }));
    this.frames = Math.max(...this.clips.map(clip => FILMS[clip.kind].frames(clip)));
    this.rate = Math.min(120, Math.max(8, this.frames / 4));  // frames a second at speed 1
    this.clips.forEach((clip, number) => {
      const words = clip.words || FILMS[clip.kind].words(clip);
      this.canvases[number].setAttribute("aria-label", `${this.canvases[number].dataset.name}: ${words}.`);
    });
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    this.go(calm ? this.frames - 1 : 0);
    this.play(!calm);
  }

  get frame() { return Math.min(this.frames - 1, Math.floor(this.position)); }

  go(frame) {
    this.position = Math.min(this.frames - 1, Math.max(0, frame));
    this.draw();
  }

  play(on) {
    const begins = on && !this.playing;
    this.playing = on;
    if (on && this.frame === this.frames - 1) this.go(0);
    this.moved();
    if (begins) {
      this.then = performance.now();
      requestAnimationFrame(now => this.tick(now));
    }
  }

  tick(now) {
    if (!this.playing) return;
    const before = this.frame;
    this.position += Math.max(0, now - this.then) / 1000 * this.rate * this.speed;
    this.then = now;
    if (this.position > this.frames - 1 + HOLD * this.rate * this.speed) this.restart();
    if (this.frame !== before) this.draw();
    requestAnimationFrame(later => this.tick(later));
  }

  restart() {
    this.position = 0;
    if (this.following) this.load(this.following);
    this.following = null;
  }

  follow(clips) {  // once the films that are shown have come to their end
    if (this.clips.length && this.playing) this.following = clips;
    else this.load(clips);
  }

  draw() {
    const colour = colours();
    this.clips.forEach((clip, number) => this.drawOne(clip, this.canvases[number], colour));
    this.moved();
  }

  drawOne(clip, canvas, colour) {
    const side = Math.round(Math.min(canvas.clientWidth, canvas.clientHeight) * devicePixelRatio);
    if (side <= 0) return;  // not to be seen
    const film = FILMS[clip.kind], key = `${side} ${colour.ink}`;
    if (clip.key !== key) {
      clip.still = Object.assign(document.createElement("canvas"), { width: side, height: side });
      film.still(clip.still.getContext("2d"), clip, side, colour);
      clip.key = key;
    }
    if (canvas.width !== side) canvas.width = canvas.height = side;
    const pen = canvas.getContext("2d");
    pen.clearRect(0, 0, side, side);
    pen.drawImage(clip.still, 0, 0);
    film.moving(pen, clip, side, colour, Math.min(this.frame, film.frames(clip) - 1), () => this.draw());
  }
}

// ---- The server --------------------------------------------------------------------------------------------------

class Unreachable extends Error {}

async function ask(method, path, body) {
  const query = new URLSearchParams({ token: TOKEN, rater: rater(), page: pageName });
  const given = { method, cache: "no-store", signal: AbortSignal.timeout(10000) };
  if (body) given.body = JSON.stringify(body);
  let reply, value = null;
  try {
    reply = await fetch(`/api/${path}?${query}`, given);
    if (reply.status !== 204) value = await reply.json();
  } catch {
    throw new Unreachable("prefrl cannot be reached");
  }
  if (reply.status === 429 || reply.status >= 500) throw new Unreachable(value.error);
  return { status: reply.status, value };
}

let pageName = store.get("sessionStorage", "page") || random();
store.set("sessionStorage", "page", pageName);
const rater = () => by("rater").value.trim().replace(/[^\p{L}\p{N}_ .@-]/gu, "") || "person";

// ---- Questions and answers ---------------------------------------------------------------------------------------

let question = null;  // the one that is shown
let later = [];  // put aside while an earlier one is answered again
const UNSENT = `unsent ${TOKEN}`;  // another run may have this port another day
let unsent = JSON.parse(store.get("sessionStorage", UNSENT) || "null");  // an answer that is not saved yet
let finished = false;  // the person is done
let shownAt = 0, hiddenAt = 0;
let busy = false;  // until the next films are there
let failures = 0;
let turn = 0;  // which of several askers for the next films is the last one
let over = "";  // how training ended
let waits = true;  // as the text says that the next films are waited for
let training = true;  // else the questions are a file's

const films = new Player([by("left"), by("right")], showPlace);
const newest = new Player([by("film")]);
by("left").dataset.name = "Left film";
by("right").dataset.name = "Right film";
by("film").dataset.name = "The agent now";

function showPlace() {
  const { frame, frames, playing } = films;
  by("place").max = frames - 1;
  by("place").value = frame;
  by("place").setAttribute("aria-valuetext", `frame ${frame + 1} of ${frames}`);
  by("frame").textContent = `${frame + 1} / ${frames}`;
  by("play").textContent = playing ? "Pause" : "Play";
}

function say(text) { by("status").textContent = text; }

function warn(text) {
  if (by("notice").textContent !== text) by("notice").textContent = text;
  by("notice").hidden = !text;
}

function usable(on) {
  document.querySelectorAll("[data-answer]").forEach(one => one.setAttribute("aria-disabled", String(!on)));
}

async function patiently(what, doing) {  // until the server has answered
  for (;;) {
    try {
      const reply = await doing();
      if (failures) warn("");
      failures = 0;
      return reply;
    } catch (problem) {
      if (!(problem instanceof Unreachable)) throw problem;
      const wait = Math.min(5, 0.5 * 2 ** failures++);
      if (!over || unsent) warn(`${problem.message.replace(/\.$/, "")}. ${what} Trying again every few seconds; ` +
        "if the run was stopped, resume it and leave this page open.");
      await pause(wait);
    }
  }
}

function show(asked) {
  question = asked;
  by("question").hidden = false;
  films.load([question.left, question.right]);
  shownAt = performance.now();
  hiddenAt = document.hidden ? shownAt : 0;
  busy = false;
  usable(true);
  document.querySelectorAll(".chosen").forEach(one => one.classList.remove("chosen"));
  if (waits) say("");
  waits = false;
  by("spoken").textContent = `${by("left").getAttribute("aria-label")} ${by("right").getAttribute("aria-label")}`;
}

async function next() {
  const mine = ++turn;
  busy = true;
  usable(false);
  if (later.length) return show(later.pop());
  for (;;) {
    const reply = await patiently("", () => ask("GET", "question"));
    if (mine !== turn) return undefined;  // an answer was taken back meanwhile
    if (reply.status === 200) return show(reply.value);
    if (reply.status !== 204) return stop(reply.value.error);
    question = null;
    by("question").hidden = true;
    if (!finished && !over) wait();
    await pause(0.5);
    if (mine !== turn) return undefined;
  }
}

function wait() {
  const text = training ? "No question waits: training goes on, and the next films come by themselves."
    : "Every question has an answer: take some back, or say that you are done.";
  if (!waits) say(`${by("status").textContent} ${text}`.trim());
  waits = true;
}

function stop(reason) {
  busy = true;
  usable(false);
  by("question").hidden = true;
  warn(reason);
}

async function send() {
  const reply = await patiently("Your answer is not saved yet.", () => ask("POST", "answer", unsent));
  const strong = unsent.strong ? "much: " : "";
  if (reply.status === 200) say(`Saved: ${strong}${SAID[unsent.answer]}.${guessed(reply.value.guess)}`);
  else say(reply.value.error);
  unsent = null;
  store.set("sessionStorage", UNSENT, null);
  if (reply.status === 401 || reply.status === 403) return stop(reply.value.error);
  progress();
  return reply.value.next && !later.length ? show(reply.value.next) : next();
}

function guessed(left) {  // what the model had said of the films before the answer, where a person asked for it
  if (typeof left !== "number") return "";
  return ` The model’s guess was ${left < 0.5 ? "right" : "left"}, ${Math.round(100 * Math.max(left, 1 - left))} %.`;
}

function answer(choice, strongly = false) {
  if (busy || !question) return;
  busy = true;
  usable(false);
  if (hiddenAt) shownAt += performance.now() - hiddenAt;
  const strong = (strongly || by("strong").getAttribute("aria-pressed") === "true") && (choice === "left" || choice === "right");
  const seconds = Math.max(0, Math.round(performance.now() - shownAt) / 1000);
  unsent = { question: question.question, answer: choice, nonce: random(), seconds, strong, next: !later.length };
  store.set("sessionStorage", UNSENT, JSON.stringify(unsent));
  say("Saving …");
  by("strong").setAttribute("aria-pressed", "false");
  document.querySelectorAll("[data-answer]").forEach(one => one.classList.toggle("chosen", one.dataset.answer === choice));
  send();
}

async function undo() {
  if (unsent) return say("The last answer is not saved yet; then it can be taken back.");
  const nonce = random();
  const reply = await patiently("", () => ask("POST", "undo", { nonce }));
  if (reply.status !== 200) return say(reply.value.error);
  ++turn;
  if (question && question.question !== reply.value.question) later.push(question);
  later = later.filter(one => one.question !== reply.value.question);
  show(reply.value);
  say("Your last answer is taken back. Answer again.");
  return progress();
}

async function done() {
  const button = by("done");
  if (button.dataset.sure !== "yes") {
    button.dataset.sure = "yes";
    button.textContent = "Press again to end";
    return say(training ? "I am done: press again, and training finishes alone, without more questions."
      : "I am done: press again to end.");
  }
  await patiently("", () => ask("POST", "done", {}));
  return end();
}

function end() {
  finished = true;
  stop("");
  question = null;
  by("done").hidden = by("strong").hidden = true;
  say(training ? "Thank you: training finishes alone. You may watch it here, or close this page."
    : "Thank you: your answers are saved.");
}

// ---- What the answers did ----------------------------------------------------------------------------------------

let newestFilm = "";

async function progress() {
  let reply;
  try { reply = await ask("GET", "progress"); } catch { return; }  // whoever asks for questions tells of it
  if (reply.status === 200) showProgress(reply.value);
}

async function watch() {
  for (;;) {
    await progress();
    await pause(document.hidden ? 10 : 2);
  }
}

function showProgress(now) {
  training = now.labels === undefined;
  const budget = training ? now.budget : now.labels, left = training ? now.left : now.labels - now.answered;
  by("counts").textContent = `${count(now.answered, "answer")} given` + (left === null ? "" : `, ${left} left`) +
    (training ? `; ${count(now.waiting, "question")} ${now.waiting === 1 ? "waits" : "wait"}` : "");
  by("budget").hidden = budget === null;
  if (budget !== null) Object.assign(by("budget"), { max: budget || 1, value: budget - left });
  by("learned").textContent = training ? "What your answers do" : "How far you are";
  showCurves(now.curve, now.metrics || []);
  if (now.reliability) by("figures").append(...listed(reliability(now.reliability)));
  const text = JSON.stringify(now.film || null);
  by("film-figure").hidden = !now.film;
  if (now.film && text !== newestFilm) newest.follow([now.film]);
  newestFilm = text;
  if (now.done && !finished) end();
  if (now.ended !== over) showEnd(now.ended);
}

function showEnd(ended) {
  over = ended;
  if (!ended) return;
  stop("");
  question = null;
  by("done").hidden = by("strong").hidden = by("undo").hidden = true;
  say(ended);
}

const shortest = number => String(Number(number.toPrecision(3)));

// What the run reported of what is better when it is higher: the newest value of each, a curve of the first, and one of
// the last, which is how well the model guesses the answers.
function showCurves(reports, metrics) {
  const last = reports.at(-1) || {};
  const known = metrics.filter(metric => typeof last[metric.name] === "number");
  by("figures").replaceChildren(...listed(known.map(
    ({ name, words, unit }) => [words, `${shortest(last[name])}${unit ? ` (${unit})` : ""}`])));
  by("nothing").hidden = known.length > 0 || !training;
  showCurve("curve", known[0], reports);
  showCurve("guessed", known.slice(1).find(metric => metric.name === "guessed"), reports);
}

function showCurve(id, metric, reports) {
  const points = metric ? reports.map(one => [one.step, one[metric.name]]).filter(one => typeof one[1] === "number") : [];
  by(`${id}-figure`).hidden = points.length < 2;
  if (points.length > 1) drawCurve(id, metric.words, points);
}

// How good the answers were, told once training has ended.
function reliability({ self_agreement: own, between_raters: others, raters, model }) {
  const percent = share => share === null ? "–" : `${Math.round(100 * share)} %`;
  const shareOf = (one, words) => `${percent(one.value)} of ${words}, 95 % interval ${one.ci95.map(percent).join(" to ")}`;
  const agreed = one => shareOf(one, `${count(one.number, "question")} that came twice`);
  const rows = Object.entries(raters).map(([name, habit]) => [`answers of ${name}`, `${habit.answers}: ` +
    `${percent(habit.left.value)} left of left and right, ${percent(habit.equal.value)} equal, ` +
    `${percent(habit.cannot_tell.value)} can’t tell` +
    (habit.seconds === null ? "" : `, ${shortest(habit.seconds)} s each`) +
    (habit.drift === null ? "" : `, ${shortest(habit.drift)} times as long in the second half`)]);
  if (own.number) rows.push(["agreement with oneself", agreed(own)]);
  if (others.number) rows.push(["agreement between people", agreed(others) +
    (others.kappa === null ? "" : `, kappa ${shortest(others.kappa)}`)]);
  if (model && model.number) rows.push(["guessed by the model before it saw them", shareOf(model, count(model.number, "answer"))]);
  return rows;
}

function listed(rows) {
  return rows.flatMap(([name, text]) => [element("dt", name), element("dd", text)]);
}

function element(tag, text) {
  return Object.assign(document.createElement(tag), { textContent: text });
}

function drawCurve(id, name, points) {
  by(`${id}-title`).textContent = name;
  const [xs, ys] = [points.map(point => point[0]), points.map(point => point[1])];
  let [low, high] = [Math.min(...ys), Math.max(...ys)];
  if (low >= 0 && high <= 1) [low, high] = [0, 1];
  if (low === high) [low, high] = [low - 1, high + 1];
  const [first, last] = [Math.min(...xs), Math.max(...xs)];
  const x = step => 45 + 365 * (step - first) / (last - first || 1), y = value => 190 - 175 * (value - low) / (high - low);
  const part = (tag, given, text = "") => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
    Object.entries(given).forEach(([key, value]) => made.setAttribute(key, value));
    made.textContent = text;
    return made;
  };
  by(id).replaceChildren(
    ...[low, (low + high) / 2, high].flatMap(value => [
      part("line", { class: "rule", x1: 45, x2: 410, y1: y(value), y2: y(value) }),
      part("text", { x: 40, y: y(value) + 4, "text-anchor": "end" }, shortest(value)),
    ]),
    part("text", { x: 45, y: 212 }, String(first)),
    part("text", { x: 410, y: 212, "text-anchor": "end" }, `step ${last}`),
    part("polyline", { points: points.map(([step, value]) => `${x(step)},${y(value)}`).join(" ") }),
    part("circle", { cx: x(xs.at(-1)), cy: y(ys.at(-1)), r: 3.5 }),
  );
  by(id).setAttribute("aria-label", `${name}: ${shortest(ys[0])} at step ${xs[0]}, ` +
    `${shortest(ys.at(-1))} at step ${xs.at(-1)}; between ${shortest(Math.min(...ys))} and ${shortest(Math.max(...ys))}.`);
}

// ---- Mouse, touch and keys ---------------------------------------------------------------------------------------

function step(frames) {
  films.play(false);
  films.go(films.frame + frames);
}

function setSpeed(speed) {
  films.speed = newest.speed = Number(speed);
  by("speed").value = speed;
}

function toggleStrong() {
  by("strong").setAttribute("aria-pressed", String(by("strong").getAttribute("aria-pressed") !== "true"));
}

const toggleHelp = () => by("help").open ? by("help").close() : by("help").showModal();
const KEYS = {
  ArrowLeft: event => answer("left", event.shiftKey), ArrowRight: event => answer("right", event.shiftKey),
  ArrowUp: () => answer("equal"), "=": () => answer("equal"),
  ArrowDown: () => answer("cannot_tell"), x: () => answer("cannot_tell"),
  u: undo, Backspace: undo, s: toggleStrong,
  " ": () => films.play(!films.playing), ",": () => step(-1), ".": () => step(1),
  Home: () => step(-films.frames), End: () => step(films.frames),
  1: () => setSpeed("0.5"), 2: () => setSpeed("1"), 3: () => setSpeed("2"), 4: () => setSpeed("4"),
};

function pressed(event) {
  if (event.key === "?" && event.target !== by("rater")) {
    event.preventDefault();
    return toggleHelp();
  }
  if (by("help").open || event.altKey || event.metaKey) return undefined;
  if (event.target.matches("input, select")) {
    if (event.key === "Escape") by("question").hidden ? event.target.blur() : by("question").focus();
    return undefined;
  }
  if (event.ctrlKey && event.key !== "z") return undefined;
  const key = event.ctrlKey ? "u" : event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (!KEYS[key] || (key === " " && event.target.matches("button"))) return undefined;
  event.preventDefault();
  return event.repeat && key !== "," && key !== "." ? undefined : KEYS[key](event);
}

addEventListener("keydown", pressed);
document.querySelectorAll("[data-answer]").forEach(
  one => one.addEventListener("click", event => answer(one.dataset.answer, event.shiftKey)));
by("play").addEventListener("click", () => films.play(!films.playing));
by("back").addEventListener("click", () => step(-1));
by("forward").addEventListener("click", () => step(1));
by("place").addEventListener("input", () => {
  const frame = Number(by("place").value);  // before the clock moves the slider
  films.play(false);
  films.go(frame);
});
by("speed").addEventListener("change", () => setSpeed(by("speed").value));
by("strong").addEventListener("click", toggleStrong);
by("undo").addEventListener("click", undo);
by("done").addEventListener("click", done);
by("done").addEventListener("blur", () => { by("done").dataset.sure = ""; by("done").textContent = "I am done"; });
by("help-button").addEventListener("click", toggleHelp);
by("rater").value = store.get("localStorage", "rater") || "person";
by("rater").addEventListener("change", () => {
  by("rater").value = rater();
  store.set("localStorage", "rater", rater());
});
document.addEventListener("visibilitychange", () => {
  if (document.hidden) hiddenAt = performance.now();
  else if (hiddenAt) { shownAt += performance.now() - hiddenAt; hiddenAt = 0; }
});

if (unsent) send();
else next();
watch();
