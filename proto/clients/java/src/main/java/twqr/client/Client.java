package twqr.client;

import static java.nio.charset.StandardCharsets.UTF_8;

import com.google.gson.Gson;
import io.grpc.Grpc;
import io.grpc.ManagedChannel;
import io.grpc.stub.MetadataUtils;
import java.io.InputStreamReader;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import twqr.pos.v1.Pos.CancelRequest;
import twqr.pos.v1.Pos.CancelResponse;
import twqr.pos.v1.Pos.InquiryType;
import twqr.pos.v1.Pos.OrderStatus;
import twqr.pos.v1.Pos.PayRequest;
import twqr.pos.v1.Pos.PayResponse;
import twqr.pos.v1.Pos.QueryRequest;
import twqr.pos.v1.Pos.QueryResponse;
import twqr.pos.v1.Pos.RefundRequest;
import twqr.pos.v1.Pos.RefundResponse;
import twqr.pos.v1.PosServiceGrpc;
import twqr.pos.v1.PosServiceGrpc.PosServiceBlockingStub;

/** Calls one router at several addresses. Many threads may use it at once. */
public final class Client implements AutoCloseable {
  private final List<ManagedChannel> channels;
  private final Credentials credentials;
  private final Options options;
  private final AtomicInteger turn = new AtomicInteger();

  /** Throws IllegalArgumentException if the API key would leave this machine without TLS. */
  public Client(List<String> targets, Credentials credentials, Options options) {
    if (targets.isEmpty()) {
      throw new IllegalArgumentException("no address is given");
    }
    targets.forEach(credentials::checkWay);
    var config = serviceConfig();
    channels =
        targets.stream()
            .map(target -> Grpc.newChannelBuilder(target, credentials.channel()))
            .map(builder -> builder.defaultServiceConfig(config).enableRetry().build())
            .toList();
    this.credentials = credentials;
    this.options = options;
  }

  /** Sends one payment. The card token is separate, so that the request may be logged. */
  public Result<PayResponse> pay(PayRequest request, CardToken token) throws Refused, InterruptedException {
    refuseToken(request.getCardToken());
    var sent = request.toBuilder().setCardToken(token.reveal()).build();
    var inquiry = inquiry(InquiryType.INQUIRY_TYPE_PAYMENT, request.getMerchantId(), request.getMerchantTradeNo());
    return new Settling<>(
            this,
            new Settling.Order<>(
                false,
                inquiry,
                OrderStatus.ORDER_STATUS_PAID,
                stub -> stub.pay(sent),
                PayResponse::getStatusCode,
                QueryResponse::getPayment))
        .run();
  }

  /** Sends one refund, which has its own number. */
  public Result<RefundResponse> refund(RefundRequest request) throws Refused, InterruptedException {
    var inquiry = inquiry(InquiryType.INQUIRY_TYPE_REFUND, request.getMerchantId(), request.getMerchantTradeNo());
    return new Settling<>(
            this,
            new Settling.Order<>(
                false,
                inquiry,
                OrderStatus.ORDER_STATUS_REFUND_SUCCEEDED,
                stub -> stub.refund(request),
                RefundResponse::getStatusCode,
                QueryResponse::getRefund))
        .run();
  }

  /**
   * Cancels a payment: sends the cancel again until it has a result. A cancelled payment has the
   * status FULLY_REFUNDED, and one that never was FAILED.
   */
  public Result<CancelResponse> cancel(CancelRequest request, CardToken token) throws Refused, InterruptedException {
    refuseToken(request.getCardToken());
    var sent = request.toBuilder().setCardToken(token.reveal()).build();
    var inquiry = inquiry(InquiryType.INQUIRY_TYPE_PAYMENT, request.getMerchantId(), request.getMerchantTradeNo());
    return new Settling<>(
            this,
            new Settling.Order<>(
                true,
                inquiry,
                OrderStatus.ORDER_STATUS_FULLY_REFUNDED,
                stub -> stub.cancel(sent),
                CancelResponse::getStatusCode,
                null))
        .run();
  }

  /** Inquires once; throws io.grpc.StatusRuntimeException if that fails. */
  public QueryResponse query(QueryRequest request) {
    return stub(options.call()).query(request);
  }

  /**
   * Returns the generated stub for one call with this deadline, for calls that this client does not
   * wrap. It retries UNAVAILABLE.
   */
  public PosServiceBlockingStub stub(Duration deadline) {
    var channel = channels.get(Math.floorMod(turn.get(), channels.size()));
    return PosServiceGrpc.newBlockingStub(channel)
        .withInterceptors(MetadataUtils.newAttachHeadersInterceptor(credentials.metadata()))
        .withDeadlineAfter(deadline.toNanos(), TimeUnit.NANOSECONDS);
  }

  /** Ends the connections. */
  @Override
  public void close() {
    channels.forEach(ManagedChannel::shutdownNow);
  }

  Options options() {
    return options;
  }

  void turnToNext() {
    turn.incrementAndGet();
  }

  private static void refuseToken(String token) {
    if (!token.isEmpty()) {
      throw new IllegalArgumentException("card_token: leave it empty in the request, and give a CardToken");
    }
  }

  private static QueryRequest inquiry(InquiryType type, String merchant, String number) {
    return QueryRequest.newBuilder()
        .setInquiryType(type)
        .setMerchantId(merchant)
        .setMerchantTradeNo(number)
        .build();
  }

  @SuppressWarnings("unchecked")
  private static Map<String, ?> serviceConfig() {
    var resource = Client.class.getResourceAsStream("/service-config.json");
    return new Gson().fromJson(new InputStreamReader(resource, UTF_8), Map.class);
  }
}
