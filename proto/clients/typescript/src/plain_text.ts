/** Whether data for an address leaves this machine. */
import { BlockList, isIPv4, isIPv6 } from "node:net";

const LOOPBACK = new BlockList();
LOOPBACK.addSubnet("127.0.0.0", 8, "ipv4");
LOOPBACK.addAddress("::1", "ipv6");

/** Whether gRPC may connect to another machine for this address, also if it cannot be parsed. */
export function leavesMachine(address: string): boolean {
  const colon = address.indexOf(":");
  const path = address.slice(colon + 1);
  switch (colon < 0 ? "" : address.slice(0, colon).toLowerCase()) {
    case "unix":
      return !path.startsWith("/");
    case "dns":
      // With an authority (a DNS server), localhost may be another machine.
      return !isLoopback(path.startsWith("///") ? path.slice(3) : path);
    case "ipv4":
    case "ipv6":
      return !path.split(",").every(isLoopback);
    default:
      return !isLoopback(address);
  }
}

function isLoopback(place: string): boolean {
  const host = place.startsWith("[") ? place.slice(1).split("]", 1)[0] : place.split(":", 1)[0];
  if (!host || host.toLowerCase() === "localhost") {
    return Boolean(host);
  }
  return (isIPv4(host) && LOOPBACK.check(host, "ipv4")) || (isIPv6(host) && LOOPBACK.check(host, "ipv6"));
}
