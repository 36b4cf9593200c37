package twqr.client;

import com.google.protobuf.Any;
import com.google.protobuf.Message;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import io.grpc.Context;
import io.grpc.Contexts;
import io.grpc.Grpc;
import io.grpc.InsecureServerCredentials;
import io.grpc.Metadata;
import io.grpc.Server;
import io.grpc.ServerCall;
import io.grpc.ServerCallHandler;
import io.grpc.ServerCredentials;
import io.grpc.ServerInterceptor;
import io.grpc.Status;
import io.grpc.protobuf.StatusProto;
import io.grpc.stub.StreamObserver;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import twqr.pos.v1.Pos;
import twqr.pos.v1.PosServiceGrpc;

/** A router on loopback that answers each method by its script; the last step is repeated. */
final class Fake extends PosServiceGrpc.PosServiceImplBase implements AutoCloseable {
  /** A call that was received. */
  record Received(String method, Message request, Duration left, String authorization, long atNanos) {}

  /** The answer to one call. */
  interface Step {
    void answer(StreamObserver<Message> to);
  }

  private static final Context.Key<String> AUTHORIZATION = Context.key("authorization");
  private final Map<String, Deque<Step>> scripts = new HashMap<>();
  private final List<Received> calls = new ArrayList<>();
  private final Server server;

  Fake() throws Exception {
    this(InsecureServerCredentials.create());
  }

  Fake(ServerCredentials credentials) throws Exception {
    server = Grpc.newServerBuilderForPort(0, credentials).addService(this).intercept(new Headers()).build().start();
  }

  Fake script(String method, Step... steps) {
    scripts.put(method, new ArrayDeque<>(List.of(steps)));
    return this;
  }

  String address() {
    return "127.0.0.1:" + server.getPort();
  }

  synchronized List<Received> calls() {
    return List.copyOf(calls);
  }

  String methods() {
    return String.join(" ", calls().stream().map(Received::method).toList());
  }

  @Override
  public void close() {
    server.shutdownNow();
  }

  @SuppressWarnings("unchecked")
  private synchronized void next(String method, Message request, StreamObserver<? extends Message> to) {
    var deadline = Context.current().getDeadline();
    var left = deadline == null ? null : Duration.ofNanos(deadline.timeRemaining(TimeUnit.NANOSECONDS));
    calls.add(new Received(method, request, left, AUTHORIZATION.get(), System.nanoTime()));
    var script = scripts.get(method);
    (script.size() > 1 ? script.removeFirst() : script.getFirst()).answer((StreamObserver<Message>) to);
  }

  @Override
  public void pay(Pos.PayRequest request, StreamObserver<Pos.PayResponse> to) {
    next("Pay", request, to);
  }

  @Override
  public void refund(Pos.RefundRequest request, StreamObserver<Pos.RefundResponse> to) {
    next("Refund", request, to);
  }

  @Override
  public void cancel(Pos.CancelRequest request, StreamObserver<Pos.CancelResponse> to) {
    next("Cancel", request, to);
  }

  @Override
  public void query(Pos.QueryRequest request, StreamObserver<Pos.QueryResponse> to) {
    next("Query", request, to);
  }

  static Step answers(Message message) {
    return to -> {
      to.onNext(message);
      to.onCompleted();
    };
  }

  /** An error that says nothing of the payment. */
  static Step fails(Status status) {
    return to -> to.onError(status.asRuntimeException());
  }

  static Step refuses(Status.Code code, String reason, boolean isRetryable, long delayMs) {
    var info =
        ErrorInfo.newBuilder()
            .setReason(reason)
            .setDomain("twqr.pos.v1")
            .putMetadata("charged", "no")
            .putMetadata("retryable", Boolean.toString(isRetryable));
    var retry = RetryInfo.newBuilder();
    retry.getRetryDelayBuilder().setNanos((int) (delayMs * 1_000_000));
    var status =
        com.google.rpc.Status.newBuilder()
            .setCode(code.value())
            .setMessage(reason)
            .addDetails(Any.pack(info.build()))
            .addDetails(Any.pack(retry.build()));
    return to -> to.onError(StatusProto.toStatusRuntimeException(status.build()));
  }

  static Step silent() {
    return to -> {};
  }

  private static final class Headers implements ServerInterceptor {
    @Override
    public <Q, A> ServerCall.Listener<Q> interceptCall(
        ServerCall<Q, A> call, Metadata headers, ServerCallHandler<Q, A> next) {
      var key = Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER);
      var context = Context.current().withValue(AUTHORIZATION, headers.get(key));
      return Contexts.interceptCall(context, call, headers, next);
    }
  }
}
