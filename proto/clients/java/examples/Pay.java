import com.google.gson.Gson;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.LinkedHashMap;
import twqr.client.CardToken;
import twqr.client.Client;
import twqr.client.Credentials;
import twqr.client.Options;
import twqr.pos.v1.Pos.PayRequest;
import twqr.pos.v1.Pos.PayResponse;

/**
 * Sends one payment, and prints its outcome as one line of JSON.
 *
 * <p>Usage: Pay ADDRESS... MERCHANT NUMBER AMOUNT, with the card token on standard input. The
 * variables TWQR_CA, TWQR_CERTIFICATE, TWQR_KEY and TWQR_API_KEY_FILE name the files of mTLS and of
 * the API key.
 */
public final class Pay {
  private Pay() {}

  public static void main(String[] arguments) throws Exception {
    var count = arguments.length - 3;
    var addresses = Arrays.asList(arguments).subList(0, count);
    var request =
        PayRequest.newBuilder()
            .setMerchantId(arguments[count])
            .setMerchantTradeNo(arguments[count + 1])
            .setTradeAmount(Long.parseLong(arguments[count + 2]))
            .build();
    var token = new CardToken(new BufferedReader(new InputStreamReader(System.in)).readLine().strip());
    try (var client = new Client(addresses, credentials(), Options.DEFAULT)) {
      var result = client.pay(request, token);
      var line = new LinkedHashMap<String, Object>();
      line.put("merchant_trade_no", request.getMerchantTradeNo());
      line.put("order_status", result.status().name());
      line.put("status_code", result.answer().map(PayResponse::getStatusCode).orElse(""));
      line.put("trade_no", result.answer().map(PayResponse::getTradeNo).orElse(""));
      line.put("attempts", result.attempts());
      line.put("inquiries", result.inquiries());
      System.out.println(new Gson().toJson(line));
    }
  }

  private static Credentials credentials() throws Exception {
    var files = System.getenv();
    var credentials = Credentials.insecure();
    if (files.containsKey("TWQR_CERTIFICATE")) {
      credentials =
          Credentials.mutualTls(
              Path.of(files.get("TWQR_CA")), Path.of(files.get("TWQR_CERTIFICATE")), Path.of(files.get("TWQR_KEY")));
    } else if (files.containsKey("TWQR_CA")) {
      credentials = Credentials.tls(Path.of(files.get("TWQR_CA")));
    }
    var key = files.get("TWQR_API_KEY_FILE");
    return key == null ? credentials : credentials.withApiKeyFile(Path.of(key));
  }
}
