// Compares two verdicts on the same values: that of the ingress, in verdicts.json, and that of the
// Protovalidate runtime, which reads the annotations of the public contract.
//
// Usage: contract-check IMAGE VERDICTS; IMAGE is the contract as `buf build` writes it.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
)

// valuesMin is how many values must be judged at least, so that an empty file cannot pass.
const valuesMin = 10_000

// verdicts is the file that the tests of the ingress write.
type verdicts struct {
	// Texts are pieces, and how often each is repeated.
	Texts   []text
	Numbers []int64
	Enums   []int32
	Rows    []row
}

type text struct {
	Piece string
	Times int
}

// row is what the ingress says about one field of a message that is valid otherwise.
type row struct {
	Message, Field string
	// Base is the valid message, as bytes.
	Base []byte
	// Allowed has a digit for each value of the field's kind: 1 if the ingress takes it.
	Allowed string
}

func main() {
	count, err := check(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "contract-check:", err)
		os.Exit(1)
	}
	fmt.Printf("contract-check: the ingress and Protovalidate agree about %d values\n", count)
}

func check(arguments []string) (int, error) {
	if len(arguments) != 2 {
		return 0, errors.New("say IMAGE VERDICTS")
	}
	files, err := contract(arguments[0])
	if err != nil {
		return 0, err
	}
	read, err := os.ReadFile(arguments[1])
	if err != nil {
		return 0, err
	}
	var told verdicts
	if err := json.Unmarshal(read, &told); err != nil {
		return 0, err
	}
	validator, err := protovalidate.New()
	if err != nil {
		return 0, err
	}
	count := 0
	var differences []error
	for _, row := range told.Rows {
		judged, err := row.judge(told, files, validator)
		count += judged
		differences = append(differences, err)
	}
	if err := errors.Join(differences...); err != nil {
		return count, err
	}
	if count < valuesMin {
		return count, fmt.Errorf("only %d values were judged, not %d", count, valuesMin)
	}
	return count, nil
}

// contract reads the descriptors with their annotations.
func contract(image string) (*protoregistry.Files, error) {
	read, err := os.ReadFile(image)
	if err != nil {
		return nil, err
	}
	var set descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal(read, &set); err != nil {
		return nil, err
	}
	return protodesc.NewFiles(&set)
}

// judge gives the field each value, and returns how many, and where the verdicts differ.
func (r row) judge(told verdicts, files *protoregistry.Files, validator protovalidate.Validator) (int, error) {
	found, err := files.FindDescriptorByName(protoreflect.FullName("twqr.pos.v1." + r.Message))
	if err != nil {
		return 0, err
	}
	message := found.(protoreflect.MessageDescriptor)
	field := message.Fields().ByName(protoreflect.Name(r.Field))
	if field == nil {
		return 0, fmt.Errorf("%s has no field %s", r.Message, r.Field)
	}
	values, err := told.values(field)
	if err != nil {
		return 0, err
	}
	if len(values) != len(r.Allowed) {
		return 0, fmt.Errorf("%s.%s has %d verdicts about %d values", r.Message, r.Field, len(r.Allowed), len(values))
	}
	var differences []error
	for n, value := range values {
		tried := dynamicpb.NewMessage(message)
		if err := proto.Unmarshal(r.Base, tried); err != nil {
			return 0, err
		}
		if value.IsValid() {
			tried.Set(field, value)
		} else {
			tried.Clear(field)
		}
		refusal := validator.Validate(tried)
		if err := compare(r.Allowed[n] == '1', refusal, r.Field); err != nil {
			differences = append(differences, fmt.Errorf("%s.%s = %q: %w", r.Message, r.Field, value, err))
		}
	}
	return len(values), errors.Join(differences...)
}

// compare fails if the ingress takes what Protovalidate refuses, or the other way round, or if
// Protovalidate refuses another field.
func compare(isAllowed bool, refusal error, field string) error {
	var invalid *protovalidate.ValidationError
	switch {
	case refusal != nil && !errors.As(refusal, &invalid):
		return refusal
	case refusal == nil && !isAllowed:
		return errors.New("only the ingress refuses it")
	case refusal != nil && isAllowed:
		return fmt.Errorf("only Protovalidate refuses it: %w", refusal)
	}
	if invalid == nil {
		return nil
	}
	for _, violation := range invalid.Violations {
		// A rule about the whole message names no field.
		path := protovalidate.FieldPathString(violation.Proto.GetField())
		if path != field && path != "" {
			return fmt.Errorf("Protovalidate refuses %s by %s", path, violation.Proto.GetRuleId())
		}
	}
	return nil
}

// values returns what a field of this kind is tried with; an invalid value stands for none.
func (v verdicts) values(field protoreflect.FieldDescriptor) ([]protoreflect.Value, error) {
	var values []protoreflect.Value
	switch field.Kind() {
	case protoreflect.StringKind:
		for _, text := range v.Texts {
			values = append(values, protoreflect.ValueOfString(strings.Repeat(text.Piece, text.Times)))
		}
	case protoreflect.Int64Kind:
		for _, number := range v.Numbers {
			values = append(values, protoreflect.ValueOfInt64(number))
		}
	case protoreflect.EnumKind:
		for _, number := range v.Enums {
			values = append(values, protoreflect.ValueOfEnum(protoreflect.EnumNumber(number)))
		}
	case protoreflect.MessageKind:
		values = []protoreflect.Value{{}}
	default:
		return nil, fmt.Errorf("no values to try %s with", field.FullName())
	}
	return values, nil
}
