"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const form = document.getElementById("filters");
  const cards = all(".card").map((node) => ({
    node,
    ...node.dataset,
    check: node.closest(".check").dataset.check,
    text: node.textContent.toLowerCase(),
  }));
  const pills = all("button[data-verdict]", form);
  const selects = ["check", "paper", "registration"];
  const show = (node, yes) => node.classList.toggle("off", !yes);

  const state = () => {
    const found = { verdict: pills.filter((pill) => pill.ariaPressed === "true").map((pill) => pill.dataset.verdict) };
    for (const name of selects) found[name] = form.elements[name].value;
    return { ...found, q: form.elements.q.value.trim() };
  };

  const matches = (card, wanted, words) =>
    (!wanted.verdict.length || wanted.verdict.includes(card.verdict)) &&
    selects.every((name) => !wanted[name] || card[name] === wanted[name]) &&
    words.every((word) => card.text.includes(word) || card.check.includes(word));

  function apply() {
    const wanted = state();
    const words = wanted.q.toLowerCase().split(/\s+/).filter(Boolean);
    const filtered = wanted.verdict.length || words.length || selects.some((name) => wanted[name]);
    const checks = new Set();
    let count = 0;
    for (const card of cards) {
      const yes = matches(card, wanted, words);
      show(card.node, yes);
      if (yes) checks.add(card.check);
      count += yes;
    }
    for (const section of all(".check")) show(section, !filtered || checks.has(section.dataset.check));
    for (const row of all("#contents [data-of]")) show(row, !filtered || checks.has(row.dataset.of));
    for (const section of all(".whole")) show(section, !filtered);
    show(document.getElementById("nothing"), filtered && !count);
    for (const button of all("#filters [data-reset]")) show(button, filtered);
    document.getElementById("shown").textContent =
      filtered ? `${count} of ${cards.length} claims` : `all ${cards.length} claims`;
    return filtered ? wanted : null;
  }

  function changed() {
    const wanted = apply();
    const said = new URLSearchParams();
    for (const [name, value] of Object.entries(wanted ?? {})) if (value.length) said.set(name, value.toString());
    const place = location.href.split("#")[0];
    if (wanted || location.hash.includes("=")) history.replaceState(null, "", wanted ? `${place}#${said}` : place);
  }

  function set(said) {
    const verdicts = (said.get("verdict") ?? "").split(",");
    for (const pill of pills) pill.ariaPressed = String(verdicts.includes(pill.dataset.verdict));
    for (const name of [...selects, "q"]) form.elements[name].value = said.get(name) ?? "";
  }

  function allRuns(table) {
    for (const node of all("tbody[data-arm], tr[data-task]", table)) show(node, true);
    show(table.querySelector(".only"), false);
  }

  function onlyRuns(link) {
    const table = document.getElementById(decodeURIComponent(link.hash.slice(1)));
    const [arms, tasks] = [JSON.parse(link.dataset.arms), JSON.parse(link.dataset.tasks)];
    for (const body of all("tbody[data-arm]", table)) {
      const rows = all("tr[data-task]", body);
      for (const row of rows) show(row, tasks.includes(row.dataset.task));
      show(body, arms.includes(body.dataset.arm) && rows.some((row) => tasks.includes(row.dataset.task)));
    }
    const only = table.querySelector(".only");
    show(only, true);
    only.querySelector("b").textContent = link.dataset.only;
    only.querySelector("a").href = `#${link.closest("[id]").id}`;
  }

  // What a link leads to is shown, whatever hid it.
  function reveal(id) {
    const target = document.getElementById(id);
    if (!target) return;
    const hidden = target.closest(".off");
    if (hidden?.matches("tbody")) allRuns(hidden.closest(".runs"));
    else if (hidden) {
      set(new URLSearchParams());
      apply();
    }
    for (let node = target; node; node = node.parentElement) if (node.matches("details")) node.open = true;
    target.scrollIntoView();
  }

  function arrive() {
    const hash = location.hash.slice(1);
    if (hash.includes("=")) {
      set(new URLSearchParams(hash));
      apply();
    } else if (hash) reveal(decodeURIComponent(hash));
  }

  document.addEventListener("click", (event) => {
    const node = event.target.closest("button, a");
    if (!node) return;
    if (node.matches("button[data-verdict]")) {
      node.ariaPressed = String(node.ariaPressed !== "true");
      changed();
    } else if (node.matches("[data-reset]")) {
      set(new URLSearchParams());
      changed();
    } else if (node.matches("[data-all-runs]")) allRuns(node.closest(".runs"));
    else if (node.matches("a[href^='#']")) {
      const id = decodeURIComponent(node.hash.slice(1));
      const target = document.getElementById(id);
      if (node.dataset.arms) onlyRuns(node);
      else if (target?.matches(".runs")) allRuns(target);
      reveal(id);  // now: an address that stays is no change, and the browser tells of a change later
    }
  });
  for (const kind of ["input", "change"]) form.addEventListener(kind, changed);  // a choice may send the one alone
  form.addEventListener("submit", (event) => event.preventDefault());
  window.addEventListener("hashchange", arrive);

  let opened = [];
  window.addEventListener("beforeprint", () => {
    opened = all("details:not([open])");
    for (const node of opened) node.open = true;
  });
  window.addEventListener("afterprint", () => {
    for (const node of opened) node.open = false;
  });

  show(form, true);
  apply();
  arrive();
})();
