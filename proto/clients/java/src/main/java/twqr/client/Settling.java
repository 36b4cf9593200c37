package twqr.client;

import io.grpc.StatusRuntimeException;
import java.time.Duration;
import java.util.Optional;
import java.util.concurrent.ThreadLocalRandom;
import java.util.function.Function;
import twqr.pos.v1.Pos.OrderStatus;
import twqr.pos.v1.Pos.QueryRequest;
import twqr.pos.v1.Pos.QueryResponse;
import twqr.pos.v1.PosServiceGrpc.PosServiceBlockingStub;

/** One order until it has a result. */
final class Settling<A> {
  private static final String SUCCESS = "000";
  private static final String CANCELLED = "812";
  private static final String NO_SUCH_ORDER = "916";
  private static final Duration PAUSE_FIRST = Duration.ofMillis(200);
  private static final Duration PAUSE_MAX = Duration.ofSeconds(2);
  private static final Duration ASKED_PAUSE_MAX = Duration.ofSeconds(30);

  /**
   * The request of an order, and the inquiry about it.
   *
   * @param found the order in the answer of an inquiry; null for a cancel
   */
  record Order<A>(
      boolean isCancel,
      QueryRequest inquiry,
      OrderStatus success,
      Function<PosServiceBlockingStub, A> send,
      Function<A, String> code,
      Function<QueryResponse, A> found) {}

  /** The answer to a call, or how it failed; the other one is null. */
  private record Outcome<A>(A answer, Failure failure) {}

  private final Client client;
  private final Order<A> order;
  private final long until;
  private Duration pause = PAUSE_FIRST;
  private A answer;
  private int attempts;
  private int inquiries;

  Settling(Client client, Order<A> order) {
    this.client = client;
    this.order = order;
    this.until = System.nanoTime() + client.options().settle().toNanos();
  }

  Result<A> run() throws Refused, InterruptedException {
    boolean mayBeAccepted = false;
    while (true) {
      attempts++;
      var outcome = attempt(order.send());
      var failure = outcome.failure();
      if (failure != null) {
        if (failure.isRefusal() && !failure.isRetryable() && !mayBeAccepted) {
          throw failure.refused();
        }
        mayBeAccepted |= !failure.isRefusal();
        if (!pause(failure.delay())) {
          return result(OrderStatus.ORDER_STATUS_IN_PROGRESS);
        }
        if (!mayBeAccepted) {
          continue;
        }
      } else {
        mayBeAccepted = true;
        answer = outcome.answer();
        if (order.code().apply(answer).equals(SUCCESS)) {
          return result(order.success());
        }
        if (order.isCancel() && order.code().apply(answer).equals(NO_SUCH_ORDER)) {
          return result(OrderStatus.ORDER_STATUS_FAILED);
        }
      }
      var isCancelled = failure == null && order.code().apply(answer).equals(CANCELLED);
      var status = inquire(isCancelled);
      // A cancel without an answer may not have arrived, whatever the payment's state is.
      var mustRepeat = order.isCancel() && failure != null && !status.equals(Optional.of(order.success()));
      if (status.isPresent() && !mustRepeat) {
        return result(status.get());
      }
      if (!pause(Duration.ZERO)) {
        return result(OrderStatus.ORDER_STATUS_IN_PROGRESS);
      }
    }
  }

  /**
   * Inquires until the state is final or the bound is reached; empty if no order was accepted, which
   * may still happen.
   */
  private Optional<OrderStatus> inquire(boolean isCancelled) throws InterruptedException {
    while (true) {
      inquiries++;
      var outcome = attempt(stub -> stub.query(order.inquiry()));
      var delay = outcome.failure() == null ? Duration.ZERO : outcome.failure().delay();
      var response = outcome.answer();
      if (response != null && response.getStatusCode().equals(NO_SUCH_ORDER)) {
        return isCancelled ? Optional.of(OrderStatus.ORDER_STATUS_FAILED) : Optional.empty();
      }
      if (response != null && response.hasOrderStatus()) {
        answer = order.found() == null ? answer : order.found().apply(response);
        if (response.getOrderStatus() != OrderStatus.ORDER_STATUS_IN_PROGRESS) {
          return Optional.of(response.getOrderStatus());
        }
      }
      if (!pause(delay)) {
        return Optional.of(OrderStatus.ORDER_STATUS_IN_PROGRESS);
      }
    }
  }

  /** Makes one call. After a failure the next one goes to the next address. */
  private <B> Outcome<B> attempt(Function<PosServiceBlockingStub, B> send) {
    var left = Duration.ofNanos(Math.max(until - System.nanoTime(), 1_000_000));
    var call = client.options().call();
    try {
      return new Outcome<>(send.apply(client.stub(left.compareTo(call) < 0 ? left : call)), null);
    } catch (StatusRuntimeException error) {
      client.turnToNext();
      return new Outcome<>(null, Failure.of(error));
    }
  }

  /** Waits before the next call; returns false if the bound is reached first. */
  private boolean pause(Duration asked) throws InterruptedException {
    var own = (long) (pause.toNanos() * ThreadLocalRandom.current().nextDouble(0.5, 1.0));
    pause = shorter(pause.multipliedBy(2), PAUSE_MAX);
    var wanted = shorter(asked, ASKED_PAUSE_MAX).plusNanos(own);
    var left = Duration.ofNanos(Math.max(until - System.nanoTime(), 0));
    Thread.sleep(shorter(wanted, left).toMillis());
    return wanted.compareTo(left) < 0;
  }

  private static Duration shorter(Duration a, Duration b) {
    return a.compareTo(b) < 0 ? a : b;
  }

  private Result<A> result(OrderStatus status) {
    return new Result<>(status, Optional.ofNullable(answer), attempts, inquiries);
  }
}
