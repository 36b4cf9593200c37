package twqr.client;

import io.grpc.ChannelCredentials;
import io.grpc.InsecureChannelCredentials;
import io.grpc.Metadata;
import io.grpc.TlsChannelCredentials;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Optional;
import java.util.function.Supplier;

/** The caller's credentials. Without files, nothing is encrypted: for loopback only. */
public final class Credentials {
  private static final Metadata.Key<String> AUTHORIZATION =
      Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER);

  private final ChannelCredentials channel;
  private final Supplier<String> apiKey;
  private final boolean apiKeyInPlainText;

  private Credentials(ChannelCredentials channel, Supplier<String> apiKey, boolean apiKeyInPlainText) {
    this.channel = channel;
    this.apiKey = apiKey;
    this.apiKeyInPlainText = apiKeyInPlainText;
  }

  private Credentials(ChannelCredentials channel) {
    this(channel, null, false);
  }

  /** Not encrypted: for loopback only. */
  public static Credentials insecure() {
    return new Credentials(InsecureChannelCredentials.create());
  }

  /** TLS with the router's certificate authority in a PEM file. */
  public static Credentials tls(Path ca) throws IOException {
    return new Credentials(TlsChannelCredentials.newBuilder().trustManager(ca.toFile()).build());
  }

  /** The same with the caller's certificate and its key in PEM files. */
  public static Credentials mutualTls(Path ca, Path certificate, Path key) throws IOException {
    var tls = TlsChannelCredentials.newBuilder().trustManager(ca.toFile());
    return new Credentials(tls.keyManager(certificate.toFile(), key.toFile()).build());
  }

  /** Adds an API key from a function, which is asked at each call. */
  public Credentials withApiKey(Supplier<String> key) {
    return new Credentials(channel, key, apiKeyInPlainText);
  }

  /** Adds an API key from a file, which is read at each call. */
  public Credentials withApiKeyFile(Path file) {
    return withApiKey(() -> read(file));
  }

  /** Lets the API key leave this machine without TLS, for a closed network. */
  public Credentials withApiKeyInPlainText() {
    return new Credentials(channel, apiKey, true);
  }

  /** Throws IllegalArgumentException if others could read the API key on the network. */
  void checkWay(String target) {
    var hasTls = !(channel instanceof InsecureChannelCredentials);
    if (apiKey != null && !apiKeyInPlainText && !hasTls && PlainText.leavesMachine(target)) {
      throw new IllegalArgumentException(
          target
              + " has no TLS, so others could read the API key on the network: use Credentials.tls,"
              + " or, if the network is closed, withApiKeyInPlainText()");
    }
  }

  ChannelCredentials channel() {
    return channel;
  }

  Metadata metadata() {
    var metadata = new Metadata();
    Optional.ofNullable(apiKey).ifPresent(key -> metadata.put(AUTHORIZATION, "Bearer " + key.get()));
    return metadata;
  }

  private static String read(Path file) {
    try {
      return Files.readString(file).strip();
    } catch (IOException error) {
      throw new UncheckedIOException(error);
    }
  }
}
