package twqr

import (
	"errors"
	"fmt"
)

// CardToken is a scanned code: a one-time credential. Printing or encoding it never shows its
// text, which is only used for the request itself.
type CardToken struct{ text *string }

// NewCardToken holds the text of a code.
func NewCardToken(text string) CardToken { return CardToken{&text} }

// Reveal returns the text; it must never be logged.
func (t CardToken) Reveal() string {
	if t.text == nil {
		return ""
	}
	return *t.text
}

// Format prints no part of the text, whatever the verb.
func (CardToken) Format(f fmt.State, _ rune) { _, _ = fmt.Fprint(f, "CardToken(redacted)") }

// String prints no part of the text.
func (CardToken) String() string { return "CardToken(redacted)" }

// MarshalText fails: a card token cannot be stored.
func (CardToken) MarshalText() ([]byte, error) {
	return nil, errors.New("a card token cannot be stored")
}
