package config

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/caarlos0/env/v11"
	"github.com/goccy/go-yaml"
)

// Prefix starts the name of every environment variable that is a setting: limits.blob_size is WEIR_LIMITS_BLOB_SIZE.
const Prefix = "WEIR_"

// Source says where settings come from. Later ones win: defaults, File, Environ, Override.
type Source struct {
	File     string        // YAML file; empty = none
	Environ  []string      // KEY=value, as os.Environ gives it
	Override func(*Config) // flags of the command line; may be nil
}

// Load reads, completes and checks the settings. The error joins every problem found, each on lines of its own with the
// place it is at; the settings are unusable then.
func Load(src Source) (Config, error) {
	c := Default()
	var problems []error
	if src.File != "" {
		text, err := os.ReadFile(src.File)
		if err != nil {
			return Config{}, fmt.Errorf("read settings: %w", err)
		}
		problems = append(problems, decode(src.File, text, &c)...)
	}
	problems = append(problems, environment(src.Environ, &c)...)
	if src.Override != nil {
		src.Override(&c)
	}
	c.complete()
	problems = append(problems, c.check()...)
	if len(problems) > 0 {
		return Config{}, errors.Join(problems...)
	}
	return c, nil
}

// complete fills in the paths that depend on the data folder.
func (c *Config) complete() {
	set := func(path *string, name ...string) {
		if *path == "" {
			*path = filepath.Join(append([]string{c.Data}, name...)...)
		}
	}
	if c.Database.Engine == "sqlite" {
		set(&c.Database.Path, "weir.db")
	}
	set(&c.Storage.Path, "blobs")
	if c.Keys.Env == "" {
		set(&c.Keys.KeysetFile, "keys", "keyset.json")
	}
}

func environment(environ []string, c *Config) []error {
	vars := make(map[string]string, len(environ))
	for _, kv := range environ {
		if name, value, ok := strings.Cut(kv, "="); ok && strings.HasPrefix(name, Prefix) {
			vars[name] = value
		}
	}
	err := env.ParseWithOptions(c, env.Options{Prefix: Prefix, Environment: vars})
	if aggregate, ok := errors.AsType[env.AggregateError](err); ok {
		return envProblems(aggregate, vars)
	}
	if err != nil {
		return []error{fmt.Errorf("environment: %w", err)}
	}
	emptied(reflect.ValueOf(c).Elem(), vars)
	return nil
}

// emptied takes in variables that are set and empty, which the library takes for unset: they count where empty means something,
// as in the file. That is where the default is empty, and ops.listen, which they turn off.
func emptied(c reflect.Value, vars map[string]string) {
	for _, s := range settings() {
		value, set := vars[s.variable()]
		if !set || value != "" || s.value.Kind() != reflect.String || (s.value.String() != "" && s.name() != "ops.listen") {
			continue
		}
		field := c
		for _, name := range s.path {
			field = field.Field(structFields(field.Type())[name])
		}
		field.SetString("")
	}
}

// envProblems names the variables, which the library's errors do not: each setting is parsed again alone. The values are
// left out, since one of them may be a secret.
func envProblems(all env.AggregateError, vars map[string]string) []error {
	var out []error
	for _, name := range slices.Sorted(maps.Keys(vars)) {
		var scratch Config
		err := env.ParseWithOptions(&scratch, env.Options{Prefix: Prefix, Environment: map[string]string{name: vars[name]}})
		if err == nil {
			continue
		}
		if parse, ok := errors.AsType[env.ParseError](err); ok {
			out = append(out, fmt.Errorf("environment variable %s: %w", name, wanted(name, parse.Err)))
			continue
		}
		out = append(out, fmt.Errorf("environment variable %s: %w", name, err))
	}
	if len(out) == 0 {
		return []error{fmt.Errorf("environment: %w", all)}
	}
	return out
}

// wanted says what a variable takes, where the error is of the standard library, which repeats the value.
func wanted(variable string, err error) error {
	for _, s := range settings() {
		if s.variable() != variable {
			continue
		}
		switch s.field.Type {
		case reflect.TypeFor[bool]():
			return errors.New("want true or false")
		case reflect.TypeFor[int](), reflect.TypeFor[int64]():
			return errors.New("want a whole number, such as 10")
		}
	}
	return err
}

// Unknown lists the WEIR_ variables of environ that are no setting and not among also, for a warning: a typing mistake, or
// what an orchestrator sets for a service called "weir".
func Unknown(environ []string, also ...string) []string {
	known := map[string]bool{}
	for _, s := range settings() {
		known[s.variable()] = true
	}
	for _, name := range also {
		known[name] = true
	}
	var out []string
	for _, kv := range environ {
		if name, _, _ := strings.Cut(kv, "="); strings.HasPrefix(name, Prefix) && !known[name] {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// Print returns the settings as YAML with every secret masked: what `weir config print` shows.
func Print(c Config) (string, error) {
	out, err := yaml.MarshalWithOptions(c, yaml.IndentSequence(true))
	if err != nil {
		return "", fmt.Errorf("print settings: %w", err)
	}
	return string(out), nil
}
