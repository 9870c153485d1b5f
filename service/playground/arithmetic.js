/**
 * The alpha arithmetic in the browser: one answer of the server at α = 0 is enough for every α.
 *
 *     TDE_i(α) = logits_i − α Σ_k head_cosine_k · class_effect_{k,i}
 *
 * The logits are affine in α: each class is a line, and the winner follows the upper envelope of the C lines. A target
 * prior adds log p_target − log p_train to the logits at every α. models/tde.py and models/alpha_path.py are the
 * reference; tests/service/playground compares this file with them. Shapes: C classes, K heads. Float64 throughout.
 */

/** (C,) the amount that α = 1 takes out of each logit: Σ_k head_cosine_k · class_effect_{k,i}. */
export function headEffect(headCosine, classEffect) {
  const slope = new Float64Array(classEffect[0].length);
  headCosine.forEach((cosine, k) => {
    const effect = classEffect[k];
    for (let i = 0; i < slope.length; i += 1) slope[i] += cosine * effect[i];
  });
  return slope;
}

/** (C,) the TDE logits at one α. */
export function tdeLogits(logits, slope, alpha) {
  const shifted = new Float64Array(logits.length);
  for (let i = 0; i < shifted.length; i += 1) shifted[i] = logits[i] - alpha * slope[i];
  return shifted;
}

/** (C,) the softmax of finite logits of any size; the class with index `skip` gets 0. */
export function softmax(logits, skip = -1) {
  let top = -Infinity;
  for (let i = 0; i < logits.length; i += 1) if (i !== skip && logits[i] > top) top = logits[i];
  const powers = new Float64Array(logits.length);
  let sum = 0;
  for (let i = 0; i < logits.length; i += 1) {
    if (i !== skip) sum += powers[i] = Math.exp(logits[i] - top);
  }
  for (let i = 0; i < logits.length; i += 1) powers[i] /= sum;
  return powers;
}

/**
 * (C,) the probabilities at one α. An exempt class keeps its probability under `logits`, the plain classifier's logits;
 * the other classes share the rest in proportion to their probabilities under `shifted`.
 */
export function probabilities(logits, shifted, exemptClass) {
  if (exemptClass === null || exemptClass === undefined) return softmax(shifted);
  const kept = softmax(logits)[exemptClass];
  const result = softmax(shifted, exemptClass);
  for (let i = 0; i < result.length; i += 1) result[i] *= 1 - kept;
  result[exemptClass] = kept;
  return result;
}

/** The indices of the `count` most probable classes. Ties are broken by the larger logit, then by the lower index. */
export function topClasses(probability, shifted, count) {
  const before = (a, b) =>
    probability[a] > probability[b] || (probability[a] === probability[b] && shifted[a] > shifted[b]);
  const top = [];
  for (let i = 0; i < probability.length; i += 1) {
    if (top.length === count && !before(i, top[count - 1])) continue;
    let place = top.length;
    while (place > 0 && before(i, top[place - 1])) place -= 1;
    top.splice(place, 0, i);
    if (top.length > count) top.pop();
  }
  return top;
}

/**
 * The winning class along α: [{from, to, index}], ascending, without gaps, from −Infinity to Infinity. If classes are
 * tied at every α, the lowest index is named. A class that ties with the winners at a single α is left out.
 */
export function alphaPath(logits, slope) {
  const steepestFirst = Array.from(logits.keys());
  steepestFirst.sort((a, b) => slope[b] - slope[a] || logits[b] - logits[a] || a - b);
  const winners = [steepestFirst[0]];
  const starts = [-Infinity];
  for (const index of steepestFirst.slice(1)) {
    let begin = -Infinity;
    while (winners.length) {
      const top = winners[winners.length - 1];
      begin = slope[top] > slope[index] ? (logits[top] - logits[index]) / (slope[top] - slope[index]) : Infinity;
      if (begin > starts[starts.length - 1]) break;
      winners.pop();
      starts.pop();
    }
    if (begin === Infinity) continue;
    starts.push(winners.length ? begin : -Infinity);
    winners.push(index);
  }
  return winners.map((index, i) => ({ from: starts[i], to: i + 1 < starts.length ? starts[i + 1] : Infinity, index }));
}

/** The step of a path that contains an α; where two steps meet, the one with the lower class index, as argmax has it. */
export function stepAt(path, alpha) {
  const holding = path.filter((step) => step.from <= alpha && alpha <= step.to);
  return holding.reduce((best, step) => (step.index < best.index ? step : best));
}

/** (C,) the target prior's addition to the logits, log p_target − log p_train, from target weights and class counts. */
export function priorShift(targetWeights, trainCounts) {
  const sum = (values) => values.reduce((total, value) => total + value, 0);
  const constant = Math.log(sum(trainCounts)) - Math.log(sum(targetWeights));
  return trainCounts.map((count, i) => Math.log(targetWeights[i]) - Math.log(count) + constant);
}

/** A figure at an α, interpolated linearly between its samples; null outside them. */
export function readAt(alphas, values, alpha) {
  let high = alphas.length - 1;
  if (!(alpha >= alphas[0] && alpha <= alphas[high])) return null;
  let low = 0;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (alphas[middle] <= alpha) low = middle;
    else high = middle;
  }
  if (alphas[high] === alphas[low]) return values[low];
  return values[low] + ((alpha - alphas[low]) / (alphas[high] - alphas[low])) * (values[high] - values[low]);
}
