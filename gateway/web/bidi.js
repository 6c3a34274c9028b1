// Sentences with pieces that somebody else wrote. A name may run from right to left; each piece keeps
// its direction to itself, so that it can't reorder the sentence around it.

/** A piece with a direction of its own: `el` makes it a `<bdi>`. */
export class Isolated {
  constructor(text) {
    this.text = String(text);
  }

  toString() {
    return this.text;
  }
}

export const isolated = (text) => new Isolated(text);

/** The pieces of a sentence, as children for `el`: sentence`${isolated(name)} left`. */
export function sentence(texts, ...values) {
  return texts.flatMap((text, i) => [text, ...[values[i] ?? []].flat(Infinity)]).filter((piece) => piece !== "");
}

/** The same as plain text, where there is no markup: labels, titles, notifications. */
export function plain(pieces) {
  return [pieces].flat(Infinity).join("");
}
