package twqr.client;

import java.time.Duration;

/**
 * Bounds.
 *
 * @param call the deadline of each call
 * @param settle the longest time of a method, including retries and inquiries
 */
public record Options(Duration call, Duration settle) {
  /** 14 s and 60 s. */
  public static final Options DEFAULT = new Options(Duration.ofSeconds(14), Duration.ofSeconds(60));
}
