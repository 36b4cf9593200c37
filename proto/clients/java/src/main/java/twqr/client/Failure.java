package twqr.client;

import com.google.protobuf.InvalidProtocolBufferException;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.StatusProto;
import java.time.Duration;
import java.util.EnumSet;
import java.util.Map;
import java.util.Set;

/**
 * A failed call.
 *
 * @param isRefusal the request was not accepted; otherwise that is unknown
 * @param isRetryable the same request may succeed later
 * @param delay the delay that the router asks for
 */
record Failure(Refused refused, boolean isRefusal, boolean isRetryable, Duration delay) {
  private static final String DOMAIN = "twqr.pos.v1";

  /**
   * With these codes the request was not carried out, even if a proxy answered. After every other
   * error without details of the router it may have been accepted.
   */
  private static final Set<Status.Code> NOT_CARRIED_OUT =
      EnumSet.of(
          Status.Code.INVALID_ARGUMENT,
          Status.Code.ALREADY_EXISTS,
          Status.Code.UNAUTHENTICATED,
          Status.Code.PERMISSION_DENIED,
          Status.Code.UNIMPLEMENTED);

  static Failure of(StatusRuntimeException error) {
    var reason = "";
    var told = Map.<String, String>of();
    var delay = Duration.ZERO;
    var status = StatusProto.fromThrowable(error);
    try {
      for (var detail : status.getDetailsList()) {
        if (detail.is(ErrorInfo.class)) {
          var info = detail.unpack(ErrorInfo.class);
          if (info.getDomain().equals(DOMAIN)) {
            reason = info.getReason();
            told = info.getMetadataMap();
          }
        } else if (detail.is(RetryInfo.class)) {
          var asked = detail.unpack(RetryInfo.class).getRetryDelay();
          delay = Duration.ofSeconds(asked.getSeconds(), asked.getNanos());
        }
      }
    } catch (InvalidProtocolBufferException unreadable) {
      told = Map.of(); // as if there were no details
    }
    var refused = new Refused(error.getStatus(), reason);
    if ("no".equals(told.get("charged"))) {
      return new Failure(refused, true, "true".equals(told.get("retryable")), delay);
    }
    var isRefusal = NOT_CARRIED_OUT.contains(error.getStatus().getCode());
    return new Failure(refused, isRefusal, !isRefusal, delay);
  }
}
