// Tables with one header row are sorted by a click or key on a heading: ascending, descending, original order.
const none = "–";

function numberIn(text) {
  const found = text.replace(/,(?=\d{3})/g, "").match(/^([↑↓=]?)\s*([-+−]?[\d.]+(?:e[-+]?\d+)?)(?=$|[\s%°[(±])/i);
  if (!found) return NaN;
  return Number(found[2].replace("−", "-")) * (found[1] === "↓" ? -1 : 1);
}

function order(rows, column, direction) {
  const cells = rows.map((row) => row.cells[column].textContent.trim());
  const filled = cells.filter((cell) => cell && cell !== none && cell !== "NaN");
  const numeric = filled.every((cell) => !Number.isNaN(numberIn(cell)));
  const compare = numeric ? (a, b) => numberIn(a) - numberIn(b) : (a, b) => a.localeCompare(b, "en", { numeric: true });
  const places = cells.map((_, place) => place);
  places.sort((a, b) => {
    const [here, there] = [filled.includes(cells[a]), filled.includes(cells[b])];
    if (!here || !there) return there - here || a - b;
    return direction * compare(cells[a], cells[b]) || a - b;
  });
  return places.map((place) => rows[place]);
}

function sortable(table) {
  const body = table.tBodies[0];
  if (!body || !table.tHead || table.tHead.rows.length !== 1 || body.rows.length < 2) return;
  const original = [...body.rows];
  const heads = [...table.tHead.rows[0].cells];
  if (original.some((row) => row.cells.length !== heads.length)) return;
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    if (!button.textContent.trim()) button.setAttribute("aria-label", "row");
    head.append(button);
    button.addEventListener("click", () => {
      const before = head.getAttribute("aria-sort");
      const next = { null: "ascending", ascending: "descending", descending: null }[before];
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      if (next) head.setAttribute("aria-sort", next);
      body.append(...(next ? order(original, column, next === "ascending" ? 1 : -1) : original));
    });
  });
}

document.querySelectorAll("table").forEach(sortable);
