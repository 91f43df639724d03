package api

import (
	"bytes"
	"encoding/json"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
)

// merged is v changed by a JSON merge patch (RFC 7396). The outcome is checked against the schema of v, so that a patch can do
// nothing that a whole document could not.
func merged[T any](a *API, v T, patch []byte) (T, error) {
	var out T
	var change any
	if err := json.Unmarshal(patch, &change); err != nil {
		return out, huma.NewError(http.StatusBadRequest, "the body is not JSON")
	}
	if err := wellFormed(patch); err != nil {
		return out, huma.NewError(http.StatusBadRequest, err.Error())
	}
	if _, ok := change.(map[string]any); !ok {
		return out, missing("", "want a JSON object with the fields to change")
	}
	text, err := json.Marshal(v)
	if err != nil {
		return out, err
	}
	var target any
	if err := json.Unmarshal(text, &target); err != nil {
		return out, err
	}
	target = mergePatch(target, change)
	if err := valid[T](a, target); err != nil {
		return out, err
	}
	if text, err = json.Marshal(target); err != nil {
		return out, err
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	if err := decoder.Decode(&out); err != nil { // what the schema lets through and the type does not, such as 1e400
		return out, missing("", "a field has a value of the wrong kind")
	}
	return out, nil
}

// nulls reports whether a merge patch takes a field away.
func nulls(patch []byte, field string) bool {
	var fields map[string]any
	_ = json.Unmarshal(patch, &fields) // merged has said what is wrong with it
	value, given := fields[field]
	return given && value == nil
}

// mergePatch is MergePatch of RFC 7396, section 2.
func mergePatch(target, patch any) any {
	fields, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	object, ok := target.(map[string]any)
	if !ok {
		object = map[string]any{}
	}
	for name, value := range fields {
		if value == nil {
			delete(object, name)
			continue
		}
		object[name] = mergePatch(object[name], value)
	}
	return object
}

// valid checks a decoded document against the schema of T; the problem names every field.
func valid[T any](a *API, document any) error {
	result := &huma.ValidateResult{}
	path := huma.NewPathBuffer([]byte("body"), 4)
	huma.Validate(a.huma.OpenAPI().Components.Schemas, schemaOf[T](a), path, huma.ModeWriteToServer, document, result)
	if len(result.Errors) == 0 {
		return nil
	}
	return huma.NewError(http.StatusUnprocessableEntity, "validation failed", result.Errors...)
}
