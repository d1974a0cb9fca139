// The plan view of a report: plans and errors of one-step students, computed in the page.
//
// The formulas are those of the planner (planner/problem.py, planner/per_dimension_kernel.py,
// planner/denoiser.py), and a test holds both equal. Steps count from 0 here: operators[t - 1] is
// the teacher step x_t -> x_{t-1}.
"use strict";

const planner = (() => {
  // The teacher and its data: problem = {alpha, sigma, kind, weights, rate}.
  // rate is lr |emb|^2, and weights[b][u] the weight of the loss of the jump x_b -> x_u.
  function coordinate(problem, variance) {
    const { alpha, sigma } = problem;
    const moments = [], operators = [];
    for (let t = 1; t < alpha.length; t++) {
      const noised = alpha[t] ** 2 * variance + sigma[t] ** 2;
      moments.push(noised);
      operators.push((alpha[t - 1] * alpha[t] * variance + sigma[t - 1] * sigma[t]) / noised);
    }
    return { problem, variance, moments, operators };
  }

  function product(values) {
    return values.reduce((found, value) => found * value, 1.0);
  }

  // The surrogate for operators, the composite for denoisers.
  function target({ problem, variance, operators }) {
    const shrinks = value => problem.kind === "operator" && variance > 1 && value < 1;
    return product(operators.map(value => (shrinks(value) ? 1.0 : value)));
  }

  // Share of the distance to its target that the merge x_start -> x_stop leaves.
  function shrinkage({ problem, moments }, steps, start, stop) {
    const weight = problem.kind === "operator" ? 1.0 : problem.weights[start][stop];
    const bracket = Math.abs(1.0 - 2.0 * problem.rate * weight * moments[start - 1]);
    return bracket === 0.0 ? 0.0 : Math.exp(steps * Math.log(bracket));
  }

  // Operator that the student of a merge begins with, if its noisiest part ends at `cut`.
  function initial({ problem }, start, cut, stop, first) {
    if (problem.kind === "operator") return first;
    const { alpha, sigma } = problem;
    const jump = u => {
      const ratio = sigma[u] / sigma[start];
      return [ratio, alpha[u] - ratio * alpha[start]];
    };
    const [shortRatio, shortFactor] = jump(cut), [ratio, factor] = jump(stop);
    return ratio + factor * ((first - shortRatio) / shortFactor);
  }

  const step = t => ({ start: t, stop: t - 1, parts: [] });
  const merge = parts => ({ start: parts[0].start, stop: parts[parts.length - 1].stop, parts });

  const canonical = {
    vanilla: T => (T === 1 ? step(1) : merge(Array.from({ length: T }, (_, i) => step(T - i)))),
    progressive: T => {
      let blocks = Array.from({ length: T }, (_, i) => step(i + 1));
      while (blocks.length > 1) {
        const next = [];
        for (let i = 0; i + 1 < blocks.length; i += 2) next.push(merge([blocks[i + 1], blocks[i]]));
        if (blocks.length % 2) next.push(blocks[blocks.length - 1]);
        blocks = next;
      }
      return blocks[0];
    },
    sequential_consistency: T => {
      let plan = step(1);
      for (let t = 2; t <= T; t++) plan = merge([step(t), plan]);
      return plan;
    },
    sequential_boot: T => {
      let plan = step(T);
      for (let t = T - 1; t >= 1; t--) plan = merge([plan, step(t)]);
      return plan;
    },
  };

  // Merges in the order in which they are trained.
  function merges(plan) {
    return plan.parts.length ? [...plan.parts.flatMap(merges), plan] : [];
  }

  // Operator of the student that a plan ends with, if every merge takes `steps` gradient steps.
  function value(one, plan, steps) {
    if (!plan.parts.length) return one.operators[plan.start - 1];
    const values = plan.parts.map(part => value(one, part, steps));
    const left = shrinkage(one, steps, plan.start, plan.stop);
    const begun = initial(one, plan.start, plan.parts[0].stop, plan.stop, values[0]);
    const whole = product(values), reached = (1.0 - left) * whole + left * begun;
    return one.problem.kind === "operator" ? reached : Math.min(whole, reached);
  }

  // The optimal plan of one coordinate under equal training per merge.
  function optimum(one, steps) {
    return one.problem.kind === "operator" ? optimalMerges(one, steps) : optimalChain(one, steps);
  }

  // [OM] Algorithm 1, corrected: the best operator and plan of every block of steps a..b.
  function optimalMerges(one, steps) {
    const { operators, variance } = one, T = operators.length;
    const direction = variance <= 1 ? -1.0 : 1.0;
    const best = Array.from({ length: T }, () => new Array(T));
    const cuts = Array.from({ length: T }, () => new Array(T));
    for (let b = 0; b < T; b++) {
      best[b][b] = operators[b];
      const left = shrinkage(one, steps, b + 1, 0);
      let through = 1.0;
      for (let a = b - 1; a >= 0; a--) {
        through *= operators[a];
        let found = operators[b] * (left + (1.0 - left) * through), cut = -1;
        for (let m = a; m < b && b - a > 1; m++) {
          const candidate = best[m + 1][b] * (left + (1.0 - left) * best[a][m]);
          if (direction * candidate > direction * found) [found, cut] = [candidate, m];
        }
        best[a][b] = found;
        cuts[a][b] = cut;
      }
    }
    const plan = (a, b) => {
      if (a === b) return step(a + 1);
      const cut = cuts[a][b];
      if (cut >= 0) return merge([plan(cut + 1, b), plan(a, cut)]);
      return merge(Array.from({ length: b - a + 1 }, (_, i) => step(b + 1 - i)));
    };
    return { operator: best[0][T - 1], plan: plan(0, T - 1) };
  }

  // For denoisers the best plans are chains: the noisiest part absorbs runs of teacher steps.
  function optimalChain(one, steps) {
    const { operators } = one, T = operators.length;
    const best = new Array(T), cuts = new Array(T).fill(0);
    best[T - 1] = operators[T - 1];
    for (let u = T - 2; u >= 0; u--) {
      const left = shrinkage(one, steps, T, u);
      let through = 1.0;
      best[u] = -Infinity;
      for (let m = u + 1; m < T; m++) {
        through *= operators[m - 1];
        const begun = initial(one, T, m, u, best[m]);
        const reached = Math.min(best[m] * through, (1.0 - left) * best[m] * through + left * begun);
        if (reached >= best[u]) [best[u], cuts[u]] = [reached, m];
      }
    }
    const stops = [];
    for (let u = 0; u < T - 1; u = cuts[u]) stops.push(u);
    let plan = step(T);
    for (const stop of stops.reverse()) {
      const run = Array.from({ length: plan.stop - stop }, (_, i) => step(plan.stop - i));
      plan = merge([plan, ...run]);
    }
    return { operator: best[0], plan };
  }

  // W2^2 of every canonical strategy over all coordinates, and per merge that of optimal plans.
  function errors(problem, variances, steps, inTotal) {
    const T = problem.alpha.length - 1, found = {};
    const all = variances.map(variance => coordinate(problem, variance));
    const sum = operatorOf => all.reduce((total, one) => {
      return total + (target(one) - operatorOf(one)) ** 2;
    }, 0.0);
    for (const [name, make] of Object.entries(canonical)) {
      const plan = make(T), count = Math.max(1, merges(plan).length);
      const own = inTotal ? (steps * Math.max(1, T - 1)) / count : steps;
      found[name] = sum(one => value(one, plan, own));
    }
    if (!inTotal) found.per_dimension = sum(one => optimum(one, steps).operator);
    return found;
  }

  return { canonical, coordinate, errors, merges, optimum, target, value };
})();

if (typeof module !== "undefined") module.exports = planner;
