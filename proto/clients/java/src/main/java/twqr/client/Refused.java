package twqr.client;

import io.grpc.Status;

/** The request was not accepted: nothing was charged, given back or cancelled by it. */
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

  /** Returns such as FIELD_VIOLATIONS (proto/errors.md); empty if the router gave none. */
  public String reason() {
    return reason;
  }
}
