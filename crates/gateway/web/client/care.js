// Small cares that everything in this folder shares.

/**
 * Tells everybody who still listens then. Each in a task of its own: one's fault is reported, and nobody else's loss.
 * @template T @param {Set<(news: T) => void>} listeners @param {T} news
 */
export function tell(listeners, news) {
  for (const listener of listeners) queueMicrotask(() => listeners.has(listener) && listener(news));
}

/**
 * The whole with those of these parts that are new, if any are; what did not change keeps its identity.
 * @template {object} T @param {T} whole @param {Partial<T>} parts @returns {T | undefined}
 */
export function renewed(whole, parts) {
  for (const name in parts) {
    if (JSON.stringify(parts[name]) === JSON.stringify(whole[name])) delete parts[name];
  }
  return Object.keys(parts).length ? { ...whole, ...parts } : undefined;
}

/**
 * What it gives, or nothing: private windows and blocked cookies make storage throw, and tokens may be anything.
 * @template T @param {() => T} use
 */
export function attempt(use) {
  try {
    return use();
  } catch {}
}
