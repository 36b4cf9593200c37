import { inspect } from "node:util";

const REDACTED = "CardToken(redacted)";

/** A scanned code: a one-time credential. Printing or encoding it never shows its text. */
export class CardToken {
  readonly #text: string;

  constructor(text: string) {
    this.#text = text;
  }

  /** The text, which is only for the request itself and must never be logged. */
  reveal(): string {
    return this.#text;
  }

  toString(): string {
    return REDACTED;
  }

  toJSON(): string {
    return REDACTED;
  }

  [inspect.custom](): string {
    return REDACTED;
  }
}
