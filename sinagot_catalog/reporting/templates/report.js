"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const { ids, cells, names, sentences, zero, bins, rules, rule, status, said, seconds, ended, explain } = data;
  const find = (id) => document.getElementById(id);
  const many = (n) => n.toLocaleString("en");
  let size = 50;
  const nCells = cells.length, nRows = ids.length * nCells;

  // --- light and dark
  find("theme").addEventListener("click", () => {
    const root = document.documentElement;
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
  });

  // --- one row: its number is record * nCells + cell
  const code = (rec, cell) => status[cell].charCodeAt(rec) - 48;
  const own = (rec, cell) => said[cell] ? sentences[said[cell][rec]].replaceAll("\u0001", ids[rec]) : "";
  const told = (rec, cell) => own(rec, cell) || rules[rule[cell][rec]];
  const value = (column, rec, cell) => column[cell] ? column[cell][rec] : null;
  const day = (at) => at === null ? "" : new Date((zero + at) * 1000).toISOString().slice(0, 19).replace("T", " ");
  const time = (s) => s === null ? "" : s < 0.001 ? "< 1 ms" : s < 1 ? (s * 1000).toFixed(0) + " ms" : s < 90 ? s.toFixed(1) + " s" : s < 5400 ? (s / 60).toFixed(1) + " min" : (s / 3600).toFixed(1) + " h";
  const has = (n) => cells.some((cell) => cell[n] !== null);
  const columns = [
    { name: "record", text: (r) => ids[r], sort: (r) => r },
    ...(has(0) ? [{ name: "task", text: (r, c) => cells[c][0] || "", sort: (r, c) => c }] : []),
    ...(has(1) ? [{ name: "modality", text: (r, c) => cells[c][1] || "", sort: (r, c) => c }] : []),
    { name: "step", text: (r, c) => cells[c][2], sort: (r, c) => c },
    { name: "status", text: (r, c) => names[code(r, c)], sort: code, dot: true },
    { name: "took", text: (r, c) => time(value(seconds, r, c)), sort: (r, c) => value(seconds, r, c) ?? -1, keep: true },
    { name: "ended", title: "ended (UTC)", text: (r, c) => day(value(ended, r, c)), sort: (r, c) => value(ended, r, c) ?? -1, keep: true },
    { name: "reason", text: (r, c) => names[code(r, c)] === "DONE" ? own(r, c) : told(r, c), sort: null },
  ];

  // --- which rows, in which order
  const state = { words: [], cell: -1, codes: new Set(), from: 0, to: ids.length, by: 0, down: false, page: 0 };
  let rows = new Uint32Array(0);
  const lower = ids.map((id) => id.toLowerCase());
  const lowCells = cells.map((cell) => cell.filter((part) => part).join(" ").toLowerCase());
  const lowSaid = sentences.map((text) => text.toLowerCase());
  const fits = (rec, cell) => {
    if (code(rec, cell) < 0) return false;  // not among the rows of the report
    if (state.codes.size && !state.codes.has(code(rec, cell))) return false;
    for (const word of state.words) {
      if (lower[rec].includes(word) || lowCells[cell].includes(word)) continue;
      if (said[cell] && lowSaid[said[cell][rec]].includes(word)) continue;
      return false;
    }
    return true;
  };
  const select = () => {
    const found = new Uint32Array(nRows);
    let n = 0;
    for (let rec = state.from; rec < state.to; rec++) {
      for (let cell = 0; cell < nCells; cell++) {
        if ((state.cell < 0 || state.cell === cell) && fits(rec, cell)) found[n++] = rec * nCells + cell;
      }
    }
    rows = found.subarray(0, n);
    const by = columns[state.by].sort;
    if (state.by > 0) {
      const keys = new Float64Array(nRows);
      for (const row of rows) keys[row] = by(Math.floor(row / nCells), row % nCells);
      rows.sort((a, b) => keys[a] - keys[b] || a - b);
    }
    if (state.down) rows.reverse();
    state.page = 0;
    keep();
    show();
  };

  // --- the filter in the address: it can be sent, and is kept when the page is loaded again
  const stepName = (cell) => cell.filter((part) => part !== null).join(" ");
  const keep = () => {
    const kept = new URLSearchParams();
    if (state.words.length) kept.set("search", state.words.join(" "));
    if (state.cell >= 0) kept.set("step", stepName(cells[state.cell]));
    if (state.codes.size) kept.set("status", Array.from(state.codes, (one) => names[one]).join(","));
    if (state.from > 0 || state.to < ids.length) { kept.set("from", ids[state.from]); kept.set("to", ids[state.to - 1]); }
    if (state.by > 0 || state.down) kept.set("sort", (state.down ? "-" : "") + columns[state.by].name);
    const text = String(kept);
    if (text || location.hash.includes("=")) history.replaceState(null, "", text ? "#" + text : location.pathname + location.search);
  };
  const restore = () => {
    if (!location.hash.includes("=")) return false;
    const kept = new URLSearchParams(location.hash.slice(1)), sort = kept.get("sort") || "";
    find("search").value = kept.get("search") || "";
    state.words = find("search").value.toLowerCase().split(/\s+/).filter((word) => word);
    state.cell = cells.findIndex((cell) => stepName(cell) === kept.get("step"));
    find("step").value = state.cell < 0 ? "" : String(state.cell);
    state.codes = new Set((kept.get("status") || "").split(",").map((name) => names.indexOf(name)).filter((one) => one >= 0));
    for (const chip of document.querySelectorAll(".chip")) chip.setAttribute("aria-pressed", String(state.codes.has(Number(chip.dataset.code))));
    state.by = Math.max(0, columns.findIndex((column) => column.sort && column.name === sort.replace(/^-/, "")));
    state.down = sort.startsWith("-");
    const from = ids.indexOf(kept.get("from")), to = ids.indexOf(kept.get("to"));
    if (from < 0 || to < from) narrow(0, ids.length); else narrow(from, to + 1);
    find("rows").scrollIntoView();
    return true;
  };

  // --- the table
  const head = document.querySelector("#table thead tr"), body = document.querySelector("#table tbody");
  columns.forEach((column, n) => {
    const cell = document.createElement("th");
    cell.scope = "col";
    if (column.sort) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = column.title || column.name;
      button.addEventListener("click", () => {
        state.down = state.by === n && !state.down;
        state.by = n;
        select();
      });
      cell.append(button);
    } else cell.textContent = column.name;
    head.append(cell);
  });
  const quoted = (text) => /^[\w./:=@%+,-]+$/.test(text) ? text : "'" + text.replaceAll("'", "'\"'\"'") + "'";
  const command = (rec, cell) => {
    const [task, modality, step] = cells[cell];
    const words = [ids[rec], step, ...(task === null ? [] : ["--task", task]), ...(modality === null ? [] : ["--modality", modality])];
    return explain + " " + words.map(quoted).join(" ");
  };
  const why = (line, rec, cell) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = ids[rec];
    button.title = "why";
    button.setAttribute("aria-expanded", "false");
    button.addEventListener("click", () => {
      const open = line.nextElementSibling?.className === "more";
      button.setAttribute("aria-expanded", String(!open));
      if (open) return line.nextElementSibling.remove();
      const more = document.createElement("tr"), td = document.createElement("td"), n = rule[cell].charCodeAt(rec) - 48;
      more.className = "more";
      td.colSpan = columns.length;
      for (const text of [own(rec, cell), `rule ${n}: ${rules[n]}`, "all rules with their evidence:"]) {
        if (text) td.append(Object.assign(document.createElement("p"), { textContent: text }));
      }
      td.append(Object.assign(document.createElement("pre"), { className: "command", textContent: command(rec, cell) }));
      more.append(td);
      line.after(more);
    });
    return button;
  };
  const show = () => {
    const begin = state.page * size, part = rows.subarray(begin, begin + size);
    body.replaceChildren(...Array.from(part, (row) => {
      const rec = Math.floor(row / nCells), cell = row % nCells, line = document.createElement("tr");
      for (const [n, column] of columns.entries()) {
        const td = document.createElement("td");
        if (column.dot) {
          const dot = document.createElement("i");
          dot.className = "dot s" + code(rec, cell);
          td.append(dot);
        }
        if (column.dot || column.keep) td.className = "keep " + column.name;
        td.append(n === 0 ? why(line, rec, cell) : column.text(rec, cell));
        line.append(td);
      }
      return line;
    }));
    Array.from(head.children, (cell, n) => cell.setAttribute("aria-sort", n !== state.by ? "none" : state.down ? "descending" : "ascending"));
    find("shown").textContent = rows.length ? `${many(begin + 1)} to ${many(begin + part.length)} of ${many(rows.length)} rows` : "no row fits";
    find("before").disabled = begin === 0;
    find("ids").disabled = find("csv").disabled = rows.length === 0;
    find("after").disabled = begin + size >= rows.length;
  };
  const tell = (text) => { find("done").textContent = text; };
  find("ids").addEventListener("click", async () => {
    const chosen = Array.from(new Set(Array.from(rows, (row) => ids[Math.floor(row / nCells)])));
    try {
      await navigator.clipboard.writeText(chosen.join("\n"));
      tell(chosen.length === 1 ? "1 id copied" : `${many(chosen.length)} ids copied`);
    } catch { tell("The browser does not allow it. Save the rows as CSV."); }
  });
  find("csv").addEventListener("click", () => {
    // A text that begins with one of these is a formula for a spreadsheet; a quote before it makes it a text.
    const plain = (text) => /^[=+\-@\t\r]/.test(text) && !/^[+-]?[\d.]+$/.test(text) ? "'" + text : text;
    const quoted = (text) => /[",\n\r]/.test(text) ? '"' + text.replaceAll('"', '""') + '"' : text;
    const field = (text) => quoted(plain(text));
    const lines = ["record_id,task,modality,step,status,seconds,ended,reason"];
    for (const row of rows) {
      const rec = Math.floor(row / nCells), cell = row % nCells;
      const values = [ids[rec], ...cells[cell], names[code(rec, cell)], value(seconds, rec, cell), day(value(ended, rec, cell)), told(rec, cell)];
      lines.push(values.map((one) => field(String(one ?? ""))).join(","));
    }
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([lines.join("\n") + "\n"], { type: "text/csv" }));
    link.download = "rows.csv";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
    tell(rows.length === 1 ? "1 row saved" : `${many(rows.length)} rows saved`);
  });
  find("before").addEventListener("click", () => { state.page--; show(); });
  find("after").addEventListener("click", () => { state.page++; show(); });

  // --- the controls
  let waiting = 0;
  find("search").addEventListener("input", (event) => {
    state.words = event.target.value.toLowerCase().split(/\s+/).filter((word) => word);
    clearTimeout(waiting);
    waiting = setTimeout(select, nRows > 20000 ? 120 : 0);
  });
  document.querySelector(".controls").addEventListener("submit", (event) => event.preventDefault());
  find("step").addEventListener("change", (event) => { state.cell = event.target.value === "" ? -1 : Number(event.target.value); select(); });
  for (const chip of document.querySelectorAll(".chip")) {
    chip.addEventListener("click", () => {
      const one = Number(chip.dataset.code), on = !state.codes.has(one);
      if (on) state.codes.add(one); else state.codes.delete(one);
      chip.setAttribute("aria-pressed", String(on));
      select();
    });
  }
  const range = find("range");
  const narrow = (from, to) => {
    [state.from, state.to] = [from, to];
    const all = from === 0 && to === ids.length;
    range.hidden = all;
    range.textContent = all ? "" : `${ids[from]}${to - from > 1 ? " to " + ids[to - 1] : ""} ×`;
    select();
  };
  range.addEventListener("click", () => narrow(0, ids.length));

  // --- the matrix
  const edges = (bin) => [Math.ceil(bin * ids.length / bins), Math.ceil((bin + 1) * ids.length / bins)];
  for (const strip of document.querySelectorAll(".bins")) {
    const cell = Number(strip.dataset.cell);
    const at = (event) => {
      const box = strip.getBoundingClientRect();
      return edges(Math.min(bins - 1, Math.max(0, Math.floor((event.clientX - box.left) / box.width * bins))));
    };
    strip.addEventListener("mousemove", (event) => {
      const [from, to] = at(event), counts = new Map();
      for (let rec = from; rec < to; rec++) if (code(rec, cell) >= 0) counts.set(code(rec, cell), (counts.get(code(rec, cell)) || 0) + 1);
      const some = Array.from(counts, ([one, n]) => to - from > 1 ? `${many(n)} ${names[one]}` : names[one]).join(", ");
      find("hover").textContent = `${ids[from]}${to - from > 1 ? " to " + ids[to - 1] : ""}, ${cells[cell].filter((part) => part).join(" ")}: ${some}`;
    });
    strip.addEventListener("mouseleave", () => { find("hover").textContent = "\u00a0"; });
    strip.addEventListener("click", (event) => {
      narrow(...at(event));
      find("rows").scrollIntoView({ behavior: "smooth" });
    });
  }
  // --- on paper: what failed and what lacks something, unless a filter is set, and each failure with its traceback
  const closed = () => Array.from(document.querySelectorAll("#failures details:not([open])"));
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = closed();
    for (const one of opened) one.open = true;
    [size, state.page] = [500, 0];
    if (!location.hash.includes("=")) {
      const name = (row) => names[code(Math.floor(row / nCells), row % nCells)];
      const failed = rows.filter((row) => name(row) === "ERROR"), lacks = rows.filter((row) => !["ERROR", "DONE", "READY"].includes(name(row)));
      rows = Uint32Array.from([...failed, ...lacks]);
    }
    show();
  });
  addEventListener("afterprint", () => {
    for (const one of opened) one.open = false;
    size = 50;
    select();
  });

  // --- the keyboard: a slash goes to the search, as elsewhere
  addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.ctrlKey || event.metaKey || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
    event.preventDefault();
    find("search").focus();
    find("rows").scrollIntoView();
  });
  addEventListener("hashchange", restore);
  if (!restore()) select();
})();
