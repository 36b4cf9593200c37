package twqr.client;

/** A scanned code: a one-time credential. It has no equals, and no text that shows it. */
public final class CardToken {
  private final String text;

  public CardToken(String text) {
    this.text = text;
  }

  /** Returns the text, which is only for the request itself and must never be logged. */
  public String reveal() {
    return text;
  }

  @Override
  public String toString() {
    return "CardToken(redacted)";
  }
}
