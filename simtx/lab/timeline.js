// A diagram that can be stepped through, played, zoomed and pointed at. The picture stays the same: a step only says which of its parts are seen.
const CLOSEST = 4;
const FURTHEST = 0.25;
const PACE_MS = 900;
const NEAR = 2e-3; // rows: places are rounded

function button(text, told, act) {
  const made = document.createElement("button");
  made.type = "button";
  made.className = "simtx-button";
  made.textContent = text;
  made.title = told;
  made.setAttribute("aria-label", told);
  made.addEventListener("click", act);
  return made;
}

function render({ model, el }) {
  el.classList.add("simtx-timeline");
  el.tabIndex = 0;
  const bar = document.createElement("div");
  bar.className = "simtx-bar";
  const range = document.createElement("input");
  range.type = "range";
  range.min = 1;
  range.setAttribute("aria-label", "step");
  const count = document.createElement("span");
  count.className = "simtx-count";
  const caption = document.createElement("div");
  caption.className = "simtx-caption";
  caption.setAttribute("aria-live", "polite");
  const paper = document.createElement("div");
  paper.className = "simtx-paper";
  const list = document.createElement("ol");
  list.className = "simtx-steps";
  const tip = document.createElement("div");
  tip.className = "simtx-tip";
  tip.hidden = true;
  let zoom = 1;
  let timer = null;
  let svg = null;
  let parts = [];

  const steps = () => model.get("steps");
  const go = (step) => {
    const next = Math.min(Math.max(step, 1), steps().length);
    if (next !== model.get("step")) {
      model.set("step", next);
      model.save_changes();
    }
  };
  const stop = () => {
    clearInterval(timer);
    timer = null;
    play.textContent = "play";
  };
  const start = () => {
    if (model.get("step") >= steps().length) { go(1); }
    play.textContent = "pause";
    timer = setInterval(() => {
      if (model.get("step") >= steps().length) { stop(); } else { go(model.get("step") + 1); }
    }, PACE_MS);
  };
  const play = button("play", "play or pause", () => (timer === null ? start() : stop()));
  const magnify = (factor) => {
    zoom = Math.min(Math.max(zoom * factor, FURTHEST), CLOSEST);
    if (svg !== null) {
      svg.style.maxWidth = "none";
      svg.style.width = `${zoom * svg.viewBox.baseVal.width}px`;
      svg.style.height = "auto";
    }
  };
  bar.append(
    button("first", "first step", () => { stop(); go(1); }),
    button("previous", "previous step", () => { stop(); go(model.get("step") - 1); }),
    play,
    button("next", "next step", () => { stop(); go(model.get("step") + 1); }),
    button("last", "last step", () => { stop(); go(steps().length); }),
    range,
    count,
    button("−", "smaller", () => magnify(1 / 1.25)),
    button("+", "larger", () => magnify(1.25)),
  );

  const show = (follow = true) => {
    const step = model.get("step");
    const row = steps().length ? steps()[step - 1][0] : Infinity;
    for (const { node, from, to } of parts) {
      const grows = node.dataset.kind === "span";
      node.style.opacity = from > row + NEAR ? 0.07 : to > row + NEAR && !grows ? 0.45 : 1;
      if (grows) {
        const until = from > row + NEAR ? to : Math.min(to, row);
        node.querySelector("rect").setAttribute("height", Math.max((until - from) * Number(svg.dataset.row), 2));
      }
    }
    range.value = step;
    count.textContent = `${step} of ${steps().length}`;
    caption.textContent = steps().length ? steps()[step - 1][1] : "";
    Array.from(list.children).forEach((item, index) => {
      item.classList.toggle("simtx-now", index === step - 1);
      item.classList.toggle("simtx-later", index > step - 1);
    });
    const now = list.children[step - 1];
    if (now !== undefined) { list.scrollTop = now.offsetTop - list.offsetTop - list.clientHeight / 2; }
    if (follow && row >= 0 && row < Infinity) {
      const seen = parts.filter(({ from }) => from <= row + NEAR).map(({ node }) => node).pop();
      if (seen !== undefined && paper.scrollHeight > paper.clientHeight) {
        const at = seen.getBoundingClientRect();
        const here = paper.getBoundingClientRect();
        if (at.bottom > here.bottom || at.top < here.top) { paper.scrollTop += at.top - here.top - here.height / 2; }
      }
    }
  };
  const draw = () => {
    paper.innerHTML = model.get("svg");
    svg = paper.querySelector("svg");
    parts = Array.from(paper.querySelectorAll(".part")).map((node) => ({
      node, from: Number(node.dataset.from), to: Number(node.dataset.to),
    }));
    for (const { node } of parts) {
      const native = node.querySelector("title");
      if (native !== null) { native.remove(); }
    }
    list.replaceChildren(...steps().map(([, text], index) => {
      const item = document.createElement("li");
      item.textContent = text;
      item.addEventListener("click", () => { stop(); go(index + 1); });
      return item;
    }));
    range.max = steps().length;
    show(false);
  };

  range.addEventListener("input", () => { stop(); go(Number(range.value)); });
  el.addEventListener("keydown", (event) => {
    const moves = { ArrowRight: 1, ArrowLeft: -1 };
    if (event.target === range || !(event.key in moves)) { return; }
    event.preventDefault();
    event.stopPropagation();
    stop();
    go(model.get("step") + moves[event.key]);
  });
  paper.addEventListener("wheel", (event) => {
    if (!event.ctrlKey) { return; }
    event.preventDefault();
    magnify(event.deltaY < 0 ? 1.1 : 1 / 1.1);
  }, { passive: false });
  paper.addEventListener("pointermove", (event) => {
    const part = event.target.closest(".part");
    tip.hidden = part === null || !part.dataset.tip || Number(part.style.opacity) < 0.1;
    if (!tip.hidden) {
      const here = el.getBoundingClientRect();
      tip.textContent = part.dataset.tip;
      tip.style.left = `${Math.min(event.clientX - here.left + 14, here.width - 330)}px`;
      tip.style.top = `${event.clientY - here.top + 14}px`;
    }
  });
  paper.addEventListener("pointerleave", () => { tip.hidden = true; });
  const moved = () => show();
  model.on("change:step", moved);
  model.on("change:svg", draw);

  const body = document.createElement("div");
  body.className = "simtx-body";
  body.append(paper, list);
  el.append(bar, caption, body, tip);
  draw();
  return () => { stop(); model.off("change:step", moved); model.off("change:svg", draw); };
}

export default { render };
