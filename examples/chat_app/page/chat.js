// Everything that is said gets onto the page by textContent: it is text, whatever it looks like.
const part = (id) => document.getElementById(id);
const [log, form, box, send] = ["log", "form", "message", "send"].map(part);
const [outcome, status, error] = ["outcome", "status", "error"].map(part);

const GONE = "The chat cannot be reached just now. Please try again in a moment.";
const BROKEN = "The reply broke off. Please ask again.";

function say(role, text = "") {
  const line = document.createElement("p");
  line.className = role;
  line.textContent = text;
  log.append(line);
  log.scrollTop = log.scrollHeight;
  return line;
}

function tell(where, text) {
  status.textContent = error.textContent = "";
  where.textContent = text;
}

async function post(path, body) {
  const headers = { "content-type": "application/json" };
  const answer = await fetch(path, { method: "POST", headers, body: JSON.stringify(body) }).catch(() => null);
  if (answer === null) throw new Error(GONE);
  if (!answer.ok) throw new Error((await answer.json().catch(() => ({}))).detail ?? GONE);
  return answer;
}

async function* events(answer) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read().catch(() => ({ done: true }));
    if (done) return;
    const whole = (rest + value).split("\n\n");
    rest = whole.pop();
    for (const one of whole) {
      const [name, data] = one.split("\n").map((line) => line.slice(line.indexOf(": ") + 2));
      yield [name, JSON.parse(data)];
    }
  }
}

async function converse(text) {
  const own = say("customer", text);
  let reply = null;
  try {
    const answer = await post("messages", { text });
    box.value = "";
    reply = say("agent");
    log.ariaBusy = "true";
    for await (const [name, data] of events(answer)) {
      if (name === "end") return;
      reply.textContent += data;
      log.scrollTop = log.scrollHeight;
    }
    throw new Error(BROKEN);
  } catch (problem) {
    if (reply === null) own.remove(); // it stands in the box
    throw problem;
  } finally {
    log.ariaBusy = "false";
  }
}

form.addEventListener("submit", async (submitted) => {
  submitted.preventDefault();
  const text = box.value.trim();
  if (!text || send.disabled) return;
  tell(status, "");
  send.disabled = true;
  outcome.hidden = true;
  try {
    await converse(text);
    outcome.hidden = false;
    log.scrollTop = log.scrollHeight; // the buttons take some of its height
  } catch (problem) {
    tell(error, problem.message);
  } finally {
    send.disabled = false;
    box.focus();
  }
});

async function end(helped) {
  outcome.hidden = true;
  try {
    await post("outcome", { helped });
    tell(status, "Thank you. Your next message begins a new conversation.");
  } catch (problem) {
    outcome.hidden = false;
    tell(error, problem.message);
  }
  box.focus();
}

part("helped").addEventListener("click", () => end(true));
part("not-helped").addEventListener("click", () => end(false));
