"use strict";
// The page of marl-play: it shows scenes that the server sends, and sends what the person does. It keeps no rules.

const byId = (id) => document.getElementById(id);
const DIRECTIONS = [
  [/north|up$/, ["ArrowUp", "KeyW"]], [/south|down$/, ["ArrowDown", "KeyS"]], [/east|right$/, ["ArrowRight", "KeyD"]],
  [/west|left$/, ["ArrowLeft", "KeyA"]],
];
const INTERACT = [/interact|fire|use|toggle/, ["Space", "Enter", "KeyE"]];
const SIGNS = { x: "×", o: "○", ".": "", "-": "" };
const OTHER_TAB = 4001;
const state = { socket: null, room: null, scene: { kind: "none" }, keys: {}, down: [] };

function connect() {
  const session = sessionStorage.getItem("session");
  const query = session ? `?session=${encodeURIComponent(session)}` : "";
  const socket = (state.socket = new WebSocket(`ws://${location.host}/socket${query}`));
  socket.onopen = () => tell("");
  socket.onmessage = (event) => receive(JSON.parse(event.data));
  socket.onclose = (event) => {
    if (event.code === OTHER_TAB) return tell("This game goes on in another tab.");
    tell("There is no connection to the server; trying again …");
    setTimeout(connect, 1000);
  };
}

function send(message) {
  if (state.socket.readyState === WebSocket.OPEN) state.socket.send(JSON.stringify(message));
}

function receive(message) {
  if (message.type === "error") return tell(message.text);
  if (message.type === "room") {
    state.room = message;
    if (message.session) sessionStorage.setItem("session", message.session);
    showRoom(message);
  } else {
    state.scene = message;
    showScene(message);
  }
}

const tell = (text) => { byId("status").textContent = text; };

function element(tag, content, properties = {}) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...[content].flat());
  return node;
}

// The lobby

function showRoom(room) {
  document.title = `${room.game} · marl-play`;
  byId("title").textContent = room.game;
  byId("run").textContent = `${room.run}, iteration ${room.iteration}`;
  byId("seats").hidden = room.seats < 2;
  if (byId("seats").querySelectorAll("label").length !== room.seats)
    for (let seat = 0; seat < room.seats; seat++) {
      const choice = element("input", [], { type: "radio", name: "seat", value: seat, checked: seat === 0 });
      byId("seats").append(element("label", [choice, ` ${seat + 1}`]));
    }
  byId("past").hidden = room.games.length === 0;
  byId("games").replaceChildren(...room.games.map(gameRow));
}

function gameRow(game) {
  const score = game.payoffs.map(round).join(" : ");
  const when = new Date(game.ended).toLocaleString();
  const button = element("button", "Watch", { onclick: () => send({ type: "watch", game: game.number }) });
  return element("li", [element("span", [`${game.players.join(" – ")}  ${score}`, element("small", when)]), button]);
}

const round = (number) => String(Math.round(number * 100) / 100);

function start() {
  const seat = document.querySelector("input[name=seat]:checked");
  localStorage.setItem("name", byId("name").value);
  tell("");
  document.activeElement?.blur();
  send({ type: "start", name: byId("name").value, seat: seat ? Number(seat.value) : 0 });
}

// Scenes

function showScene(scene) {
  byId("lobby").hidden = scene.kind !== "none";
  byId("stage").hidden = scene.kind !== "game";
  byId("judging").hidden = scene.kind !== "judging";
  byId("leave").hidden = scene.kind === "none";
  if (scene.kind === "game") showGame(scene);
  if (scene.kind === "judging") showAnswers(scene);
  if (scene.kind !== "game" || scene.over) state.down = [];
}

function showGame(scene) {
  showPicture(scene.picture);
  showText(scene);
  showPlayers(scene);
  showClock(scene);
  showMoves(scene);
  const log = byId("log");
  log.replaceChildren(...scene.log.map(([seat, name]) => element("li", `${label(scene, seat)}: ${name}`)));
  log.scrollTop = log.scrollHeight;
  byId("turn").textContent = headline(scene);
  byId("again").hidden = !scene.over || Boolean(scene.watched);
}

const label = (scene, seat) => (seat === scene.seat && !scene.watched ? "you" : `seat ${seat + 1}`);

function headline(scene) {
  if (scene.over) return verdict(scene);
  if (scene.watched) return "A recorded game";
  if (scene.real_time) return `You are player ${scene.seat + 1}`;
  return scene.acting.includes(scene.seat) ? "Your move" : `Seat ${scene.acting.map((seat) => seat + 1)} moves`;
}

function verdict(scene) {
  const own = scene.payoffs[scene.seat];
  if (scene.payoffs.every((payoff) => payoff === own)) return `The game is over: ${round(own)}`;
  const best = Math.max(...scene.payoffs);
  const person = scene.watched ? `Seat ${scene.seat + 1}` : "You";
  return `${person} ${own === best ? "won" : "lost"}: ${round(own)}`;
}

function showPicture(address) {
  const canvas = byId("canvas");
  canvas.hidden = !address;
  if (!address) return;
  const image = new Image();
  image.onload = () => {
    const scale = Math.max(1, Math.round((720 * devicePixelRatio) / image.width));
    if (canvas.width !== image.width * scale || canvas.height !== image.height * scale)
      Object.assign(canvas, { width: image.width * scale, height: image.height * scale });
    const pen = canvas.getContext("2d");
    pen.imageSmoothingQuality = "high";
    pen.drawImage(image, 0, 0, canvas.width, canvas.height);
  };
  image.src = address;
}

function showText(scene) {
  const lines = scene.text.replace(/\n+$/, "").split("\n");
  const width = lines[0].length;
  const isBoard = lines.length > 1 && width > 1 && width <= 20 && lines.every((line) => line.length === width);
  byId("board").hidden = !isBoard;
  byId("text").hidden = isBoard || !scene.text;
  if (isBoard) showBoard(lines, scene.moves);
  else byId("text").textContent = scene.text.replace(/\]\s*\[/g, "]\n[");
}

function showBoard(lines, moves) {
  const board = byId("board");
  const before = board.dataset.lines || "";
  board.dataset.lines = lines.join("\n");
  board.classList.toggle("discs", lines[0].length > 4);
  board.style.gridTemplateColumns = `repeat(${lines[0].length}, 1fr)`;
  const inColumn = (column) => moves.filter((move) => move.cell && move.cell[1] === column);
  board.replaceChildren(...lines.flatMap((line, row) => [...line].map((sign, column) => {
    const exact = moves.find((move) => move.cell && move.cell[0] === row && move.cell[1] === column);
    const above = SIGNS[sign] === "" && inColumn(column).length === 1 ? inColumn(column)[0] : undefined;
    const move = exact || above;
    const isNew = before.length === board.dataset.lines.length && before[row * (line.length + 1) + column] !== sign;
    return element("button", sign in SIGNS ? SIGNS[sign] : sign, {
      className: `${sign === "x" || sign === "o" ? sign : ""} ${isNew ? "new" : ""}`,
      disabled: !move,
      ariaLabel: `row ${row + 1}, column ${column + 1}: ${sign === "." ? "empty" : sign}`,
      onclick: () => press(move.action),
    });
  })));
}

function showPlayers(scene) {
  byId("players").replaceChildren(...scene.players.map((name, seat) => {
    const own = seat === scene.seat;
    const classes = `${scene.acting.includes(seat) && !scene.real_time ? "acting" : ""} ${own ? "you" : ""}`;
    const score = element("b", round(scene.payoffs[seat]));
    return element("li", [element("span", `${seat + 1}  ${name}`), score], { className: classes });
  }));
}

function showClock(scene) {
  byId("clock").hidden = !scene.real_time;
  const ticks = state.room.ticks;
  const seconds = Math.floor((scene.limit ? scene.limit - scene.clock : scene.clock) / ticks);
  byId("elapsed").textContent = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
  byId("time").hidden = !scene.limit;
  if (scene.limit) Object.assign(byId("time"), { max: scene.limit, value: scene.clock });
}

function showMoves(scene) {
  const names = scene.moves.map((move) => move.name).join("\n") + scene.real_time;
  if (byId("moves").dataset.names === names) return;
  byId("moves").dataset.names = names;
  state.keys = {};
  byId("moves").replaceChildren(...scene.moves.map((move, place) => {
    const keys = keysOf(move.name, place, scene.real_time);
    for (const key of keys) state.keys[key] = move;
    const hint = keys.length ? [" ", element("kbd", sign(keys[0]))] : [];
    return element("button", [move.name, ...hint], { onclick: () => press(move.action) });
  }));
}

function keysOf(name, place, realTime) {
  if (!realTime) return place < 9 ? [`Digit${place + 1}`] : [];
  const match = [...DIRECTIONS, INTERACT].find(([pattern]) => pattern.test(name.toLowerCase()));
  return match ? match[1] : place < 9 ? [`Digit${place + 1}`] : [];
}

const ARROWS = { ArrowUp: "↑", ArrowDown: "↓", ArrowLeft: "←", ArrowRight: "→" };
const sign = (key) => ARROWS[key] || key.replace(/^(Digit|Key)/, "");

// What the person does

function press(action, hold = false) {
  tell("");
  if (state.scene.real_time) document.activeElement?.blur(); // so that the space bar clicks no button
  send({ type: "press", action });
  if (state.scene.real_time && !hold) send({ type: "release" });
}

const isDirection = (move) => DIRECTIONS.some(([pattern]) => pattern.test(move.name.toLowerCase()));

function keyDown(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.tagName === "INPUT") return;
  if (state.scene.kind === "judging") return judgeByKey(event);
  const move = state.keys[event.code];
  if (state.scene.kind !== "game" || state.scene.over || !move) return;
  if (!state.scene.real_time && event.target.tagName === "BUTTON" && event.code === "Space") return;
  event.preventDefault();
  if (event.repeat) return;
  if (isDirection(move)) state.down.push(event.code);
  press(move.action, isDirection(move));
}

function keyUp(event) {
  if (!state.down.includes(event.code)) return;
  state.down = state.down.filter((code) => code !== event.code);
  const last = state.keys[state.down[state.down.length - 1]];
  send(last ? { type: "press", action: last.action } : { type: "release" });
}

function releaseAll() {
  if (state.down.length) send({ type: "release" });
  state.down = [];
}

// Comparisons

function showAnswers(scene) {
  byId("prompt").textContent = scene.answers ? scene.prompt : "The answers are being generated …";
  ["first", "second"].forEach((id, place) => {
    byId(id).textContent = scene.answers ? scene.answers[place] : "";
    byId(id).disabled = !scene.answers;
  });
  byId("equal").disabled = !scene.answers;
  byId("count").textContent = scene.number ? `${scene.number} comparisons so far` : "Which answer is better?";
}

function prefer(answer) {
  if (!state.scene.answers) return;
  send({ type: "prefer", number: state.scene.number, answer });
  showAnswers({ ...state.scene, answers: null, number: state.scene.number + 1 });
}

function judgeByKey(event) {
  const answer = { ArrowLeft: "first", ArrowRight: "second", ArrowDown: "equal" }[event.code];
  if (!answer || event.repeat) return;
  event.preventDefault();
  prefer(answer);
}

byId("name").value = localStorage.getItem("name") || "guest";
byId("start").onsubmit = (event) => { event.preventDefault(); start(); };
byId("again").onclick = start;
byId("leave").onclick = () => send({ type: "leave" });
for (const id of ["first", "second", "equal"]) byId(id).onclick = () => prefer(id);
addEventListener("keydown", keyDown);
addEventListener("keyup", keyUp);
addEventListener("blur", releaseAll);
connect();
