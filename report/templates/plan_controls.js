// The controls of the plan view of a report; `planner` computes.
"use strict";

document.addEventListener("DOMContentLoaded", () => {
  const section = document.getElementById("plan-view");
  if (!section) return;
  const problem = JSON.parse(document.getElementById("plan-data").textContent);
  const find = name => section.querySelector(`[name=${name}]`);
  const T = problem.alpha.length - 1;
  const svg = (tag, attributes, text = "") => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.textContent = text;
    return made;
  };

  // The arcs of one plan, the first merge lightest, with the time axis below.
  function arcs(plan) {
    const width = 420, height = 74, across = width / T, base = height - 8;
    const picture = svg("svg", { viewBox: `-6 0 ${width + 12} ${height}`, role: "img" });
    picture.append(svg("title", {}, `${planner.merges(plan).length} merges`));
    for (let t = 0; t <= T; t++) {
      const x = t * across;
      picture.append(svg("line", { x1: x, x2: x, y1: base, y2: base + 3, class: "tick" }));
    }
    const all = planner.merges(plan);
    all.forEach((merge, order) => {
      const radius = ((merge.start - merge.stop) / 2) * across;
      const high = (base - 4) * ((merge.start - merge.stop) / T);
      const left = merge.stop * across;
      picture.append(svg("path", {
        d: `M ${left} ${base} a ${radius} ${high} 0 0 1 ${2 * radius} 0`,
        class: "arc",
        "stroke-opacity": all.length === 1 ? 1 : 0.3 + (0.7 * order) / (all.length - 1),
      }));
    });
    return picture;
  }

  function update() {
    const steps = Math.max(1, Math.round(10 ** Number(find("steps").value)));
    const variance = 10 ** Number(find("variance").value);
    const inTotal = find("budget").value === "total";
    const length = inTotal ? steps * Math.max(1, T - 1) : steps;
    find("steps_text").value =
      `${length.toLocaleString("en")} gradient steps ${inTotal ? "in total" : "per merge"}`;
    find("variance_text").value = `λ = ${variance.toPrecision(3)}`;
    const errors = planner.errors(problem, problem.variances, steps, inTotal);
    const one = planner.coordinate(problem, variance), wanted = planner.target(one);
    const least = Math.min(...Object.values(errors));
    const rows = Object.entries(errors).map(([name, error]) => {
      const found = name === "per_dimension" ? planner.optimum(one, steps) : null;
      const plan = found ? found.plan : planner.canonical[name](T);
      const count = planner.merges(plan).length;
      const own = inTotal ? length / Math.max(1, count) : steps;
      const operator = found ? found.operator : planner.value(one, plan, own);
      return [name, plan, count, error, (wanted - operator) ** 2];
    });
    const body = section.querySelector("tbody");
    body.replaceChildren(...rows.map(([name, plan, count, error, single]) => {
      const line = document.createElement("tr");
      const cell = content => {
        const made = document.createElement("td");
        made.append(content);
        line.append(made);
        return made;
      };
      cell(problem.names[name]);
      cell(arcs(plan)).className = "arcs";
      cell(String(count));
      cell(error.toExponential(3)).className = error <= least * (1 + 1e-9) ? "best" : "";
      cell(single.toExponential(3));
      return line;
    }));
  }

  for (const name of ["steps", "variance", "budget"]) find(name).addEventListener("input", update);
  update();
});
