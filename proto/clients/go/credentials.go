package twqr

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"strings"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
)

// Credentials authenticate the caller. Without files the connection is not encrypted, which is for
// loopback only.
type Credentials struct {
	// PEM files: the router's certificate authority, and the caller's certificate with its key. The
	// certificate is read again for each connection.
	CAFile, CertificateFile, KeyFile string
	// APIKeyFile holds the API key; it is read for each call. APIKey is used instead if it is set.
	APIKeyFile string
	APIKey     func() (string, error)
	// APIKeyInPlainText permits the API key to leave this machine without TLS, for a closed
	// network.
	APIKeyInPlainText bool
}

func (c Credentials) hasTLS() bool { return c.CAFile != "" || c.CertificateFile != "" }

// checkWay fails if others could read the API key on the network to this address.
func (c Credentials) checkWay(target string) error {
	hasKey := c.APIKey != nil || c.APIKeyFile != ""
	if hasKey && !c.APIKeyInPlainText && !c.hasTLS() && leavesMachine(target) {
		return fmt.Errorf("%s has no TLS, so others could read the API key on the network: name the router's "+
			"authority in CAFile, or, if the network is closed, set APIKeyInPlainText", target)
	}
	return nil
}

func (c Credentials) transport() (credentials.TransportCredentials, error) {
	if !c.hasTLS() {
		return insecure.NewCredentials(), nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CAFile != "" {
		text, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, err
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("%s has no certificate in PEM", c.CAFile)
		}
	}
	if c.CertificateFile != "" {
		own := func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(c.CertificateFile, c.KeyFile)
			return &pair, err
		}
		if _, err := own(nil); err != nil {
			return nil, err
		}
		config.GetClientCertificate = own
	}
	return credentials.NewTLS(config), nil
}

func (c Credentials) outgoing(ctx context.Context) (context.Context, error) {
	read := c.APIKey
	if read == nil && c.APIKeyFile == "" {
		return ctx, nil
	}
	if read == nil {
		read = func() (string, error) {
			text, err := os.ReadFile(c.APIKeyFile)
			return strings.TrimSpace(string(text)), err
		}
	}
	key, err := read()
	if err != nil {
		return nil, fmt.Errorf("the API key: %w", err)
	}
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+key), nil
}
