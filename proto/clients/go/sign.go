package twqr

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

// CanonicalText returns the signed text of the HTTP form (proto/README.md, section HTTP form): all
// fields but Sign as compact JSON, with keys sorted at every depth. It fails on a value that JSON
// does not have.
func CanonicalText(fields map[string]any) (string, error) {
	signed := maps.Clone(fields)
	delete(signed, "Sign")
	var text bytes.Buffer
	if err := write(&text, signed); err != nil {
		return "", err
	}
	return text.String(), nil
}

// Sign returns the field Sign of a request: the hex SHA-256 of the signed text and the merchant's
// key.
func Sign(fields map[string]any, key string) (string, error) {
	text, err := CanonicalText(fields)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256([]byte(text + key))
	return hex.EncodeToString(sum[:]), nil
}

func write(to *bytes.Buffer, value any) error {
	switch value := value.(type) {
	case map[string]any:
		to.WriteByte('{')
		for n, key := range slices.Sorted(maps.Keys(value)) {
			if n > 0 {
				to.WriteByte(',')
			}
			writeText(to, key)
			to.WriteByte(':')
			if err := write(to, value[key]); err != nil {
				return err
			}
		}
		to.WriteByte('}')
	case []any:
		to.WriteByte('[')
		for n, item := range value {
			if n > 0 {
				to.WriteByte(',')
			}
			if err := write(to, item); err != nil {
				return err
			}
		}
		to.WriteByte(']')
	case string:
		writeText(to, value)
	default:
		text, err := json.Marshal(value)
		if err != nil {
			return err
		}
		to.Write(text)
	}
	return nil
}

// The package encoding/json escapes more than JSON requires.
func writeText(to *bytes.Buffer, text string) {
	const short = "\b\t\n\f\r\"\\"
	const letters = "btnfr\"\\"
	to.WriteByte('"')
	for _, c := range text {
		if n := bytes.IndexRune([]byte(short), c); n >= 0 {
			to.WriteByte('\\')
			to.WriteByte(letters[n])
		} else if c < 0x20 {
			fmt.Fprintf(to, "\\u%04x", c)
		} else {
			to.WriteRune(c)
		}
	}
	to.WriteByte('"')
}
