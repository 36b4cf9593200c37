package twqr

import (
	"net/netip"
	"strings"
)

// leavesMachine says whether gRPC may connect to another machine for this address. An address
// that cannot be parsed may.
func leavesMachine(address string) bool {
	scheme, path, hasScheme := strings.Cut(address, ":")
	if !hasScheme {
		scheme = ""
	}
	switch strings.ToLower(scheme) {
	case "unix":
		return !strings.HasPrefix(path, "/")
	case "dns":
		// With an authority (a DNS server), localhost may be another machine.
		return !isLoopback(strings.TrimPrefix(path, "///"))
	case "ipv4", "ipv6":
		for _, one := range strings.Split(path, ",") {
			if !isLoopback(one) {
				return true
			}
		}
		return false
	default:
		return !isLoopback(address)
	}
}

func isLoopback(place string) bool {
	host, _, _ := strings.Cut(place, ":")
	if rest, isBracketed := strings.CutPrefix(place, "["); isBracketed {
		host, _, _ = strings.Cut(rest, "]")
	}
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}
