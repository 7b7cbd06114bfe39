"use strict";
(() => {
  const find = (id) => document.getElementById(id);
  const meta = (name) => document.querySelector(`meta[name=${name}]`)?.content;
  const many = (n) => n.toLocaleString("en");

  // --- light and dark
  if (localStorage.theme) document.documentElement.dataset.theme = localStorage.theme;
  find("theme").addEventListener("click", () => {
    const root = document.documentElement;
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    localStorage.theme = root.dataset.theme = dark ? "light" : "dark";
  });

  const tell = (text) => { find("told").textContent = text; find("told").hidden = !text; };

  // --- the parts of a page that come and go with each refresh
  const quoted = (text) => "'" + text.replaceAll("'", "''") + "'";
  const matrix = () => {
    const source = find("bins");
    if (!source) return;
    const { bins, where } = JSON.parse(source.textContent);
    for (const strip of document.querySelectorAll(".bins")) {
      const at = (event) => {
        const box = strip.getBoundingClientRect();
        return bins[Math.min(bins.length - 1, Math.max(0, Math.floor((event.clientX - box.left) / box.width * bins.length)))];
      };
      const step = strip.closest("tr").querySelector("th").textContent;
      strip.addEventListener("mousemove", (event) => {
        const [first, last] = at(event);
        find("hover").textContent = `${first}${first === last ? "" : " to " + last}, ${step}`;
      });
      strip.addEventListener("mouseleave", () => { find("hover").textContent = "\u00a0"; });
      strip.addEventListener("click", (event) => {
        const [first, last] = at(event);
        const records = first === last ? `record_id = ${quoted(first)}` : `record_id >= ${quoted(first)} AND record_id <= ${quoted(last)}`;
        location.href = "/rows?where=" + encodeURIComponent((where ? `(${where}) AND ` : "") + records);
      });
    }
  };
  const picked = () => Array.from(document.querySelectorAll(".pick:checked"), (one) => JSON.parse(one.dataset.key));
  const picks = () => {
    const form = find("picked");
    if (!form) return;
    const count = () => {
      const n = picked().length;
      form.hidden = n === 0;
      form.querySelector("b").textContent = n === 1 ? "1 row" : `${many(n)} rows`;
    };
    find("every")?.addEventListener("change", (event) => {
      for (const one of document.querySelectorAll(".pick")) one.checked = event.target.checked;
      count();
    });
    for (const one of document.querySelectorAll(".pick")) one.addEventListener("change", count);
    count();
  };
  const post = async (path, body) => {
    const answer = await fetch(path, { method: "POST", body: JSON.stringify(body), headers: { "content-type": "application/json", "x-form-token": meta("form-token") } });
    const isJson = (answer.headers.get("content-type") || "").startsWith("application/json");
    tell(isJson ? (await answer.json()).told : await answer.text());
    return answer.ok;
  };
  const forms = () => {
    for (const form of document.querySelectorAll("form.decide")) {
      form.addEventListener("submit", async (event) => {
        event.preventDefault();
        const button = event.submitter || form.querySelector("button");
        let rows = form.dataset.keys ? JSON.parse(form.dataset.keys) : picked();
        if (button.dataset.whole) rows = rows.map((row) => ({ record_id: row.record_id }));
        button.disabled = true;
        try {
          if (await post(button.dataset.action, { rows, reason: form.elements.reason?.value || "" })) await refresh(true);
        } catch (error) {
          tell(String(error));
        }
        button.disabled = false;
      });
    }
    for (const button of document.querySelectorAll(".copy")) {
      button.addEventListener("click", async () => {
        await navigator.clipboard.writeText(find(button.dataset.copy).textContent);
        button.textContent = "copied";
      });
    }
  };
  const bind = () => { matrix(); picks(); forms(); };

  // --- refreshed as files change
  let shown = meta("version");
  const isBusy = () => picked().length > 0 || Array.from(document.querySelectorAll("input:not([type=checkbox])")).some((one) => one.value !== one.defaultValue) || String(getSelection());
  const keep = () => tell("The workspace changed. Your input is kept; load the page again to see the change.");
  const refresh = async (isDecided) => {
    const answer = await fetch(location.href), text = await answer.text();
    if (!isDecided && isBusy()) return keep(); // begun since the page was asked for
    const page = new DOMParser().parseFromString(text, "text/html");
    if (!page.querySelector("main")) return tell(text);
    const name = (one) => one.querySelector("summary").textContent;
    const states = new Map(Array.from(document.querySelectorAll("main details"), (one) => [name(one), one.open]));
    shown = page.querySelector("meta[name=version]").content;
    for (const place of ["#state", "#fault", "main"]) document.querySelector(place).replaceWith(page.querySelector(place));
    for (const one of document.querySelectorAll("main details")) if (states.has(name(one))) one.open = states.get(name(one));
    bind();
  };
  const look = async () => {
    if (document.hidden) return;
    try {
      const answer = await fetch("/version");
      if (!answer.ok) return tell(await answer.text());
      const { version } = await answer.json();
      if (find("told").dataset.away) { tell(""); delete find("told").dataset.away; }
      if (version === shown) return;
      if (isBusy()) keep();
      else await refresh(false);
    } catch {
      tell("The server has ended, or does not answer.");
      find("told").dataset.away = "1";
    }
  };
  let pause = 0;
  const again = () => { clearTimeout(pause); pause = setTimeout(() => look().finally(again), 2000); };
  document.addEventListener("visibilitychange", () => { if (!document.hidden) look(); });

  // --- the keyboard: a slash goes to the filter
  addEventListener("keydown", (event) => {
    const field = document.querySelector(".filter input");
    if (event.key !== "/" || !field || event.ctrlKey || event.metaKey || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
    event.preventDefault();
    field.focus();
  });
  bind();
  again();
})();
