package twqr.client;

import java.util.Optional;
import twqr.pos.v1.Pos.OrderStatus;

/**
 * The outcome of an order.
 *
 * @param status ORDER_STATUS_IN_PROGRESS if it is not known within the bound: call again with the
 *     same request
 * @param answer the newest answer about the order, if there was one
 */
public record Result<A>(OrderStatus status, Optional<A> answer, int attempts, int inquiries) {
  public boolean isFinal() {
    return status != OrderStatus.ORDER_STATUS_IN_PROGRESS;
  }
}
