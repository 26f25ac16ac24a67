"use strict";

// Texts come from reports, which anybody can have written: they are set as textContent and nothing else.
const data = JSON.parse(document.getElementById("data").textContent);

function element(name, text, className) {
  const made = document.createElement(name);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

function sortBy(table, column, direction) {
  const body = table.tBodies[0];
  const value = (row) => {
    const cell = row.cells[column];
    if (!("value" in cell.dataset)) return cell.textContent.trim();
    return cell.dataset.value === "" ? null : Number(cell.dataset.value);
  };
  const compare = (one, other) => {
    const [a, b] = [value(one), value(other)];
    if (a === null || b === null) return (a === null) - (b === null); // what was not measured comes last
    return direction * (typeof a === "number" ? a - b : a.localeCompare(b, undefined, { numeric: true }));
  };
  body.append(...[...body.rows].sort(compare));
}

function makeSortable(table) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = element("button", head.textContent);
    button.type = "button";
    button.addEventListener("click", () => {
      const direction = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", direction === 1 ? "ascending" : "descending");
      sortBy(table, column, direction);
    });
    head.replaceChildren(button);
  });
}

function row(cells, names) {
  const made = document.createElement("tr");
  cells.forEach((text, at) => made.append(element("td", text, (names || [])[at])));
  return made;
}

// How the second is to the first: the difference, and for what is counted how many times as much.
function difference(one, other, isCounted) {
  if (one === null || other === null) return "";
  const number = new Intl.NumberFormat("en", { maximumSignificantDigits: 4, signDisplay: "exceptZero" });
  const times = isCounted && one > 0 && other > 0 ? ` (× ${(other / one).toPrecision(3)})` : "";
  return number.format(other - one) + times;
}

function bar(change) {
  const cell = element("td", "", "change");
  const mark = element("span", "", change < 0 ? "less" : "more");
  mark.style.width = `${Math.min(Math.abs(change), 1) * 50}%`;
  cell.append(mark);
  return cell;
}

function optionText(options, name) {
  return Object.hasOwn(options, name) ? options[name] : "default";
}

function showDifference(one, other) {
  const [first, second] = [data.runs[one], data.runs[other]];
  document.querySelectorAll("[data-first]").forEach((head) => (head.textContent = first.name));
  document.querySelectorAll("[data-second]").forEach((head) => (head.textContent = second.name));
  const figures = document.querySelector("#difference-figures tbody");
  figures.replaceChildren(
    ...data.figures.map((figure) =>
      row([
        figure.title,
        figure.texts[one],
        figure.texts[other],
        difference(figure.values[one], figure.values[other], figure.is_counted),
      ])
    )
  );
  const names = [...new Set([...Object.keys(first.options), ...Object.keys(second.options)])].sort();
  const changed = names.filter((name) => optionText(first.options, name) !== optionText(second.options, name));
  const options = document.querySelector("#difference-options tbody");
  options.replaceChildren(
    ...changed.map((name) =>
      row([name, optionText(first.options, name), optionText(second.options, name)], ["name", "text name", "text name"])
    )
  );
  document.getElementById("no-options").hidden = changed.length > 0;
  document.getElementById("difference-options").hidden = changed.length === 0;
  showLayers(one, other);
}

function showLayers(one, other) {
  const percent = (share) => (share === null ? "" : `${(100 * share).toFixed(1)}%`);
  const count = (bytes) => (bytes === null ? "" : bytes.toLocaleString("en"));
  const body = document.querySelector("#difference-layers tbody");
  if (body === null) return;
  body.replaceChildren(
    ...data.layers.map((layer) => {
      const [kept, bytes] = [layer.kept, layer.bytes];
      const cells = [layer.name, percent(kept[one]), percent(kept[other]), count(bytes[one]), count(bytes[other])];
      const made = row([...cells, difference(bytes[one], bytes[other], true)], ["name"]);
      const isInBoth = kept[one] !== null && kept[other] !== null;
      made.append(isInBoth ? bar(kept[other] - kept[one]) : element("td", ""));
      return made;
    })
  );
}

document.querySelectorAll("table.sortable").forEach(makeSortable);
const [first, second] = ["first", "second"].map((name) => document.getElementById(name));
if (first !== null) {
  const show = () => showDifference(first.selectedIndex, second.selectedIndex);
  [first, second].forEach((select) => select.addEventListener("change", show));
  show();
}
