package twqr.client;

import io.grpc.Status;

/** The request was not accepted: it charged, refunded and cancelled nothing. */
public final class Refused extends Exception {
  private static final long serialVersionUID = 1;
  private final Status.Code code;
  private final String reason;

  Refused(Status status, String reason) {
    super((reason.isEmpty() ? status.getCode().name() : reason) + ": " + status.getDescription());
    this.code = status.getCode();
    this.reason = reason;
  }

  public Status.Code code() {
    return code;
  }

  /** Returns the reason, such as FIELD_VIOLATIONS (proto/errors.md); empty if there is none. */
  public String reason() {
    return reason;
  }
}
