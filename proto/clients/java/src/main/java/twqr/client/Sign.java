package twqr.client;

import static java.nio.charset.StandardCharsets.UTF_8;

import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/** The signature of the HTTP form (proto/README.md, section HTTP form). */
public final class Sign {
  private static final String SHORT = "\b\t\n\f\r\"\\";
  private static final String LETTERS = "btnfr\"\\";

  private Sign() {}

  /**
   * Returns the field Sign of a request: the hex SHA-256 of the signed text and the merchant's key.
   */
  public static String sign(Map<String, ?> fields, String key) {
    try {
      var hash = MessageDigest.getInstance("SHA-256").digest((canonicalText(fields) + key).getBytes(UTF_8));
      return HexFormat.of().formatHex(hash);
    } catch (NoSuchAlgorithmException impossible) {
      throw new IllegalStateException(impossible);
    }
  }

  /**
   * Returns the signed text: all fields but Sign as compact JSON, keys sorted by their bytes at every
   * depth. A value is a text, a whole number, a boolean, null, a list or a map.
   */
  public static String canonicalText(Map<String, ?> fields) {
    var signed = new LinkedHashMap<String, Object>(fields);
    signed.remove("Sign");
    var to = new StringBuilder();
    write(to, signed);
    return to.toString();
  }

  private static void write(StringBuilder to, Object value) {
    if (value instanceof Map<?, ?> map) {
      var sorted = new TreeMap<String, Object>((a, b) -> Arrays.compareUnsigned(a.getBytes(UTF_8), b.getBytes(UTF_8)));
      map.forEach((key, member) -> sorted.put((String) key, member));
      var separator = "{";
      for (var entry : sorted.entrySet()) {
        to.append(separator);
        writeText(to, entry.getKey());
        write(to.append(':'), entry.getValue());
        separator = ",";
      }
      to.append(sorted.isEmpty() ? "{}" : "}");
    } else if (value instanceof List<?> list) {
      to.append('[');
      for (int n = 0; n < list.size(); n++) {
        write(n == 0 ? to : to.append(','), list.get(n));
      }
      to.append(']');
    } else if (value instanceof String text) {
      writeText(to, text);
    } else if (value == null || value instanceof Boolean || value instanceof Number) {
      to.append(value);
    } else {
      throw new IllegalArgumentException("JSON has no " + value.getClass());
    }
  }

  private static void writeText(StringBuilder to, String text) {
    to.append('"');
    for (char c : text.toCharArray()) {
      int shortForm = SHORT.indexOf(c);
      if (shortForm >= 0) {
        to.append('\\').append(LETTERS.charAt(shortForm));
      } else if (c < 0x20) {
        to.append(String.format("\\u%04x", (int) c));
      } else {
        to.append(c);
      }
    }
    to.append('"');
  }
}
