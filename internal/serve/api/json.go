package api

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"

	"github.com/weir-registry/weir/internal/oci"
)

// jsonFormat is JSON that is refused where a field stands twice, for of two values one would be lost without a word, and where a text
// is none. Its errors do not repeat what was sent.
func jsonFormat() huma.Format {
	return huma.Format{Marshal: huma.DefaultJSONFormat.Marshal, Unmarshal: unmarshal}
}

func unmarshal(data []byte, v any) error {
	if err := json.Unmarshal(data, v); err != nil {
		return readable(err)
	}
	if _, first := v.(*any); !first { // it has been looked through before it was put into its type
		return nil
	}
	return wellFormed(data)
}

// readable is an error of the JSON library without the value that it is about.
func readable(err error) error {
	if e, ok := errors.AsType[*json.SyntaxError](err); ok {
		return fmt.Errorf("the body is not JSON, from byte %d on", e.Offset)
	}
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok && e.Field != "" {
		return fmt.Errorf("the field %s has a value of the wrong kind", e.Field)
	}
	return errors.New("a field has a value of the wrong kind")
}

// wellFormed names a field of valid JSON that stands twice in its object, or that holds what is no text.
func wellFormed(data []byte) error {
	if !utf8.Valid(data) {
		return errors.New("the body is not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	err := fieldsOnce(d, "")
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// fieldsOnce reads one value.
func fieldsOnce(d *json.Decoder, path string) error {
	token, err := d.Token()
	if err != nil {
		return err
	}
	if text, ok := token.(string); ok && !oci.ValidText(text) {
		return fmt.Errorf("the field %s %s", cmp.Or(path, "body"), notText)
	}
	kind, _ := token.(json.Delim)
	if kind != '{' && kind != '[' {
		return nil
	}
	seen := map[string]bool{}
	for i := 0; d.More(); i++ {
		at := fmt.Sprintf("%s[%d]", path, i)
		if kind == '{' {
			key, err := d.Token()
			if err != nil {
				return err
			}
			name, _ := key.(string)
			if !oci.ValidText(name) {
				return fmt.Errorf("the name of a field %s", notText)
			}
			if at = name; path != "" {
				at = path + "." + name
			}
			if seen[name] {
				return fmt.Errorf("the field %s stands there twice: keep one", at)
			}
			seen[name] = true
		}
		if err := fieldsOnce(d, at); err != nil {
			return err
		}
	}
	_, err = d.Token()
	return err
}
