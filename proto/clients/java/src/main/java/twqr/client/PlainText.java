package twqr.client;

import java.net.InetAddress;
import java.net.UnknownHostException;
import java.util.Arrays;
import java.util.Locale;
import java.util.regex.Pattern;

/** Whether data for an address leaves this machine. */
final class PlainText {
  private static final Pattern LOOPBACK_V4 =
      Pattern.compile("127(\\.(25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)){3}");

  private PlainText() {}

  /** Whether gRPC may connect to another machine for this address, also if it cannot be parsed. */
  static boolean leavesMachine(String address) {
    var colon = address.indexOf(':');
    var scheme = colon < 0 ? "" : address.substring(0, colon).toLowerCase(Locale.ROOT);
    var path = address.substring(colon + 1);
    return switch (scheme) {
      case "unix" -> !path.startsWith("/");
      // With an authority (a DNS server), localhost may be another machine.
      case "dns" -> !isLoopback(path.startsWith("///") ? path.substring(3) : path);
      case "ipv4", "ipv6" -> !Arrays.stream(path.split(",", -1)).allMatch(PlainText::isLoopback);
      default -> !isLoopback(address);
    };
  }

  private static boolean isLoopback(String place) {
    if (place.startsWith("[")) {
      var end = place.indexOf(']');
      return end > 0 && isLoopbackV6(place.substring(0, end + 1));
    }
    var host = place.split(":", 2)[0];
    return host.equalsIgnoreCase("localhost") || LOOPBACK_V4.matcher(host).matches();
  }

  /** A text in brackets that is not an address is refused and never looked up. */
  private static boolean isLoopbackV6(String bracketed) {
    try {
      return InetAddress.getByName(bracketed).isLoopbackAddress();
    } catch (UnknownHostException noAddress) {
      return false;
    }
  }
}
