package twqr.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static twqr.client.Fake.answers;
import static twqr.client.Fake.fails;
import static twqr.client.Fake.refuses;
import static twqr.client.Fake.silent;
import static twqr.pos.v1.Pos.OrderStatus.ORDER_STATUS_FAILED;
import static twqr.pos.v1.Pos.OrderStatus.ORDER_STATUS_FULLY_REFUNDED;
import static twqr.pos.v1.Pos.OrderStatus.ORDER_STATUS_IN_PROGRESS;
import static twqr.pos.v1.Pos.OrderStatus.ORDER_STATUS_PAID;
import static twqr.pos.v1.Pos.OrderStatus.ORDER_STATUS_REFUND_SUCCEEDED;

import com.google.gson.Gson;
import com.google.gson.GsonBuilder;
import com.google.gson.ToNumberPolicy;
import io.grpc.Status;
import io.grpc.TlsServerCredentials;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import twqr.pos.v1.Pos;
import twqr.pos.v1.Pos.CancelRequest;
import twqr.pos.v1.Pos.CancelResponse;
import twqr.pos.v1.Pos.OrderStatus;
import twqr.pos.v1.Pos.PayRequest;
import twqr.pos.v1.Pos.PayResponse;
import twqr.pos.v1.Pos.QueryResponse;
import twqr.pos.v1.Pos.RefundRequest;
import twqr.pos.v1.Pos.RefundResponse;

/** What must be right: deadlines, repeats, inquiries, credentials, and that no token is shown. */
class ClientTest {
  private static final Path TESTDATA = Path.of("../testdata");
  private static final String TEXT = "22abcdefghijklmnop";
  private static final CardToken TOKEN = new CardToken(TEXT);
  private static final Options QUICK = new Options(Duration.ofSeconds(2), Duration.ofSeconds(6));
  private static final PayRequest PAYMENT =
      PayRequest.newBuilder().setMerchantId("M1").setMerchantTradeNo("N1").setTradeAmount(100).build();
  private static final Fake.Step NO_ORDER = answers(QueryResponse.newBuilder().setStatusCode("916").build());

  private static Fake.Step paid(String code) {
    return answers(PayResponse.newBuilder().setStatusCode(code).setTradeNo("T".repeat(25)).build());
  }

  private static Fake.Step order(OrderStatus status, String code) {
    var payment = PayResponse.newBuilder().setStatusCode(code);
    return answers(
        QueryResponse.newBuilder().setStatusCode("000").setOrderStatus(status).setPayment(payment).build());
  }

  private static Client client(Fake router, Options options) {
    return new Client(List.of(router.address()), Credentials.insecure(), options);
  }

  /** Pays, and checks the result, the calls and the number and deadline of each. */
  private static void pays(Fake router, Options options, OrderStatus ends, String methods) throws Exception {
    try (router;
        var client = client(router, options)) {
      var result = client.pay(PAYMENT, TOKEN);
      assertEquals(ends, result.status());
      assertEquals(ends != ORDER_STATUS_IN_PROGRESS, result.isFinal());
      if (!methods.isEmpty()) {
        assertEquals(methods, router.methods());
      }
      for (var call : router.calls()) {
        assertTrue(call.left().compareTo(options.call()) <= 0, call.left().toString());
        if (call.request() instanceof PayRequest request) {
          assertEquals("N1 " + TEXT, request.getMerchantTradeNo() + " " + request.getCardToken());
        }
      }
    }
  }

  @Test
  void anUnavailableRouterGetsTheSameNumberAgain() throws Exception {
    var router = new Fake().script("Pay", fails(Status.UNAVAILABLE), fails(Status.UNAVAILABLE), paid("000"));
    pays(router, QUICK, ORDER_STATUS_PAID, "Pay Pay Pay");
  }

  @Test
  void aCallWithoutAnAnswerIsInquiredAboutUntilItIsFinal() throws Exception {
    var states = new Fake.Step[] {
      order(ORDER_STATUS_IN_PROGRESS, "982"), fails(Status.INTERNAL), order(ORDER_STATUS_PAID, "000")
    };
    var options = new Options(Duration.ofMillis(700), Duration.ofSeconds(6));
    pays(new Fake().script("Pay", silent()).script("Query", states), options, ORDER_STATUS_PAID, "Pay Query Query Query");
  }

  @Test
  void anAnswerInProgressIsInquiredAboutWhateverItsCode() throws Exception {
    var router =
        new Fake()
            .script("Pay", paid("555"))
            .script("Query", order(ORDER_STATUS_IN_PROGRESS, "555"), order(ORDER_STATUS_FAILED, "983"));
    pays(router, QUICK, ORDER_STATUS_FAILED, "Pay Query Query");
  }

  @Test
  void aPaymentThatWasNotAcceptedIsSentAgainUnderItsNumber() throws Exception {
    var router = new Fake().script("Pay", fails(Status.UNKNOWN), paid("000")).script("Query", NO_ORDER);
    pays(router, QUICK, ORDER_STATUS_PAID, "Pay Query Pay");
  }

  @Test
  void aPaymentAfterItsCancelNeverCharges() throws Exception {
    pays(new Fake().script("Pay", paid("812")).script("Query", NO_ORDER), QUICK, ORDER_STATUS_FAILED, "Pay Query");
  }

  @Test
  void aRefusalAfterAnUnknownAttemptSaysNothingAboutTheFirst() throws Exception {
    var refused = refuses(Status.Code.UNAUTHENTICATED, "KEY_REFUSED", false, 0);
    var router =
        new Fake()
            .script("Pay", fails(Status.UNKNOWN), refused)
            .script("Query", NO_ORDER, order(ORDER_STATUS_PAID, "000"));
    pays(router, QUICK, ORDER_STATUS_PAID, "Pay Query Pay Query");
  }

  @Test
  void whatIsNotKnownWithinTheBoundStaysInProgress() throws Exception {
    var options = new Options(Duration.ofSeconds(2), Duration.ofMillis(700));
    var router = new Fake().script("Pay", paid("982")).script("Query", order(ORDER_STATUS_IN_PROGRESS, "982"));
    pays(router, options, ORDER_STATUS_IN_PROGRESS, "");
  }

  @Test
  void aRefusalThatCannotSucceedIsThrownAndNotRepeated() throws Exception {
    try (var router = new Fake().script("Pay", refuses(Status.Code.INVALID_ARGUMENT, "FIELD_VIOLATIONS", false, 0));
        var client = client(router, QUICK)) {
      assertEquals("FIELD_VIOLATIONS", assertThrows(Refused.class, () -> client.pay(PAYMENT, TOKEN)).reason());
      assertEquals("Pay", router.methods());
    }
  }

  @Test
  void aBusyRouterIsLeftAloneForAsLongAsItAsks() throws Exception {
    var busy = refuses(Status.Code.RESOURCE_EXHAUSTED, "TOO_BUSY", true, 400);
    var router = new Fake().script("Pay", busy, paid("000"));
    pays(router, QUICK, ORDER_STATUS_PAID, "Pay Pay");
    var calls = router.calls();
    assertTrue(calls.get(1).atNanos() - calls.get(0).atNanos() >= 400_000_000);
  }

  @Test
  void theNextAddressIsTried() throws Exception {
    try (var router = new Fake().script("Pay", paid("000")).script("Query", NO_ORDER);
        var client = new Client(List.of("127.0.0.1:1", router.address()), Credentials.insecure(), QUICK)) {
      assertEquals(ORDER_STATUS_PAID, client.pay(PAYMENT, TOKEN).status());
    }
  }

  @Test
  void aRefundIsInquiredAboutAsARefund() throws Exception {
    var found =
        QueryResponse.newBuilder()
            .setStatusCode("000")
            .setOrderStatus(ORDER_STATUS_REFUND_SUCCEEDED)
            .setRefund(RefundResponse.newBuilder().setStatusCode("000"));
    var router = new Fake().script("Refund", fails(Status.UNKNOWN)).script("Query", answers(found.build()));
    try (router;
        var client = client(router, QUICK)) {
      var request = RefundRequest.newBuilder().setMerchantId("M1").setMerchantTradeNo("R1").build();
      assertEquals(ORDER_STATUS_REFUND_SUCCEEDED, client.refund(request).status());
      var inquiry = (Pos.QueryRequest) router.calls().get(1).request();
      assertEquals(Pos.InquiryType.INQUIRY_TYPE_REFUND, inquiry.getInquiryType());
    }
  }

  @Test
  void aCancelIsSentUntilItHasAResult() throws Exception {
    cancels("Cancel Query Cancel", ORDER_STATUS_FULLY_REFUNDED, fails(Status.UNKNOWN), cancelled("000"));
    cancels("Cancel", ORDER_STATUS_FAILED, cancelled("916"));
  }

  private static Fake.Step cancelled(String code) {
    return answers(CancelResponse.newBuilder().setStatusCode(code).build());
  }

  private static void cancels(String methods, OrderStatus ends, Fake.Step... script) throws Exception {
    var router = new Fake().script("Cancel", script).script("Query", order(ORDER_STATUS_PAID, "000"));
    try (router;
        var client = client(router, QUICK)) {
      var request = CancelRequest.newBuilder().setMerchantId("M1").setMerchantTradeNo("N1").build();
      assertEquals(ends, client.cancel(request, TOKEN).status());
      assertEquals(methods, router.methods());
    }
  }

  @Test
  void noCardTokenIsShown() throws Exception {
    assertFalse((TOKEN + String.format("%s %s", TOKEN, List.of(TOKEN))).contains(TEXT));
    try (var router = new Fake().script("Pay", paid("000"));
        var client = client(router, QUICK)) {
      assertFalse((client.pay(PAYMENT, TOKEN) + " " + PAYMENT + client).contains(TEXT));
      var request = PAYMENT.toBuilder().setCardToken(TEXT).build();
      var error = assertThrows(IllegalArgumentException.class, () -> client.pay(request, TOKEN));
      assertFalse(error.getMessage().contains(TEXT));
    }
  }

  @Test
  @SuppressWarnings("unchecked")
  void signaturesAreThoseOfTheRouter() throws Exception {
    var gson =
        new GsonBuilder().setObjectToNumberStrategy(ToNumberPolicy.LAZILY_PARSED_NUMBER).serializeNulls().create();
    var vectors = gson.fromJson(Files.readString(TESTDATA.resolve("signatures.json")), List.class);
    assertTrue(vectors.size() >= 10);
    for (var vector : (List<Map<String, Object>>) vectors) {
      var fields = (Map<String, Object>) vector.get("fields");
      assertEquals(vector.get("text"), Sign.canonicalText(fields), vector.get("name").toString());
      assertEquals(vector.get("sign"), Sign.sign(fields, vector.get("key").toString()));
    }
  }

  @Test
  void theApiKeyIsReadForEachCall(@TempDir Path folder) throws Exception {
    var file = folder.resolve("key");
    var credentials = Credentials.insecure().withApiKeyFile(file);
    try (var router = new Fake().script("Pay", paid("000"));
        var client = new Client(List.of(router.address()), credentials, QUICK)) {
      for (var key : List.of("old", "new")) {
        Files.writeString(file, key + "\n");
        client.pay(PAYMENT, TOKEN);
      }
      var sent = router.calls().stream().map(Fake.Received::authorization).toList();
      assertEquals(List.of("Bearer old", "Bearer new"), sent);
    }
  }

  private static String refusal(String address, Credentials credentials) {
    try {
      credentials.checkWay(address);
      return "";
    } catch (IllegalArgumentException error) {
      return error.getMessage();
    }
  }

  @Test
  @SuppressWarnings("unchecked")
  void anApiKeyLeavesTheMachineOnlyByTls(@TempDir Path folder) throws Exception {
    var text = Files.readString(TESTDATA.resolve("addresses.json"));
    var addresses = (List<Map<String, Object>>) new Gson().fromJson(text, List.class);
    assertTrue(addresses.size() >= 20);
    var key = Credentials.insecure().withApiKey(() -> "secret");
    for (var test : addresses) {
      var address = test.get("address").toString();
      for (var who : List.of(key, Credentials.insecure().withApiKeyFile(Path.of("/absent")))) {
        var refused = refusal(address, who);
        assertEquals(test.get("is_here"), refused.isEmpty(), address);
        assertTrue(refused.isEmpty() || refused.startsWith(address + " has no TLS"), refused);
      }
    }
    var both = List.of("127.0.0.1:1", "10.0.0.1:1");
    assertThrows(IllegalArgumentException.class, () -> new Client(both, key, QUICK));
    var made = new ProcessBuilder(TESTDATA.resolve("certs").toString(), folder.toString()).inheritIO().start();
    assertEquals(0, made.waitFor());
    var tls = Credentials.tls(folder.resolve("ca.pem")).withApiKey(() -> "secret");
    for (var who : List.of(tls, key.withApiKeyInPlainText(), Credentials.insecure())) {
      new Client(List.of("router.example:1"), who, QUICK).close();
    }
  }

  @Test
  void theConnectionIsAuthenticatedOnBothSides(@TempDir Path folder) throws Exception {
    var made = new ProcessBuilder(TESTDATA.resolve("certs").toString(), folder.toString()).inheritIO().start();
    assertEquals(0, made.waitFor());
    var ca = folder.resolve("ca.pem");
    var server =
        TlsServerCredentials.newBuilder()
            .keyManager(folder.resolve("server.pem").toFile(), folder.resolve("server.key").toFile())
            .trustManager(ca.toFile())
            .clientAuth(TlsServerCredentials.ClientAuth.REQUIRE)
            .build();
    var full = Credentials.mutualTls(ca, folder.resolve("client.pem"), folder.resolve("client.key"));
    var quick = new Options(Duration.ofSeconds(1), Duration.ofSeconds(1));
    try (var router = new Fake(server).script("Pay", paid("000")).script("Query", NO_ORDER);
        var known = new Client(List.of(router.address()), full, QUICK);
        var unknown = new Client(List.of(router.address()), Credentials.tls(ca), quick)) {
      assertEquals(ORDER_STATUS_IN_PROGRESS, unknown.pay(PAYMENT, TOKEN).status());
      assertEquals("", router.methods());
      assertEquals(ORDER_STATUS_PAID, known.pay(PAYMENT, TOKEN).status());
    }
  }
}
