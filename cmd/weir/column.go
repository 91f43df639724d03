package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// columns describe a table of JSON objects: "name" is a field, "freshness.default" one below it, and "members.upstream" that of
// every element of a list. ":" and a word say how a cell is written: time, bytes, digest, or count of a list's elements; the word
// after "=" is the head of the column.
type columns []string

func (c columns) head() []string {
	var out []string
	for _, column := range c {
		column, head, named := strings.Cut(column, "=")
		if !named {
			head, _, _ = strings.Cut(column, ":")
			head = strings.ReplaceAll(head[strings.LastIndex(head, ".")+1:], "_", " ")
		}
		out = append(out, strings.ToUpper(head))
	}
	return out
}

func (c columns) row(item json.RawMessage) []string {
	var object any
	_ = json.Unmarshal(item, &object) // the list it is from was JSON
	var out []string
	for _, column := range c {
		column, _, _ := strings.Cut(column, "=")
		path, how, _ := strings.Cut(column, ":")
		out = append(out, cell(at(object, strings.Split(path, ".")), how))
	}
	return out
}

// rows is a whole table.
func (c columns) rows(items []json.RawMessage) [][]string {
	rows := [][]string{c.head()}
	for _, item := range items {
		rows = append(rows, c.row(item))
	}
	return rows
}

// at is the value at a path; of a list, the values of its elements.
func at(v any, path []string) any {
	if len(path) == 0 {
		return v
	}
	switch v := v.(type) {
	case map[string]any:
		return at(v[path[0]], path[1:])
	case []any:
		out := []any{}
		for _, element := range v {
			out = append(out, at(element, path))
		}
		return out
	}
	return nil
}

// cell writes a value for people. What is not there is empty, but a time that never was is "never".
func cell(v any, how string) string {
	text, isText := v.(string)
	switch how {
	case "time":
		t, err := time.Parse(time.RFC3339, text)
		if err != nil {
			return "never"
		}
		return moment(&t)
	case "bytes":
		n, _ := v.(float64)
		return byteSize(int64(n))
	case "digest":
		return shortDigest(text)
	case "count":
		list, _ := v.([]any)
		return fmt.Sprint(len(list))
	}
	switch v := v.(type) {
	case nil:
		return ""
	case float64:
		return fmt.Sprintf("%.0f", v)
	case []any:
		var parts []string
		for _, element := range v {
			parts = append(parts, cell(element, how))
		}
		return strings.Join(parts, ",")
	case map[string]any:
		return pairs(v)
	}
	if isText {
		return text
	}
	return fmt.Sprint(v)
}

// pairs writes an object in one line.
func pairs(v map[string]any) string {
	text, _ := json.Marshal(v) // it came from JSON
	return string(text)
}
