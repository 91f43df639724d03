package config

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func write(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "weir.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestSourcesOverrideEachOther(t *testing.T) {
	file := write(t, "listen: 127.0.0.1:1\ndata: /from/file\nlimits: {blob_size: 10GiB, members_per_registry: 7}\nupstream:\n  timeout: 3s\ntls:\n")
	c, err := Load(Source{
		File: file,
		Environ: []string{
			"WEIR_DATA=/from/env", "WEIR_UPSTREAM_ALLOW_PRIVATE_NETWORKS=true", "WEIR_GC_DELAY=2d",
			"WEIR_EXTERNAL_URLS=https://a.test,https://b.test", "WEIR_LISTEN=127.0.0.1:2", "HOME=/x",
		},
		Override: func(c *Config) { c.Listen = "127.0.0.1:3" },
	})
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.Data, want.Listen = "/from/env", "127.0.0.1:3"
	want.Limits.BlobSize, want.Limits.MembersPerRegistry = 10<<30, 7
	want.Upstream.Timeout, want.Upstream.AllowPrivateNetworks = Duration(3*time.Second), true
	want.GC.Delay = Duration(48 * time.Hour)
	want.ExternalURLs = []string{"https://a.test", "https://b.test"}
	want.Database.Path, want.Storage.Path, want.Keys.KeysetFile = "/from/env/weir.db", "/from/env/blobs", "/from/env/keys/keyset.json"
	if diff := cmp.Diff(want, c); diff != "" {
		t.Error(diff)
	}
}

func TestDefaultsAreValid(t *testing.T) {
	if _, err := Load(Source{}); err != nil {
		t.Fatal(err)
	}
}

func TestAllProblemsAtOnce(t *testing.T) {
	file := write(t, `listen: nonsense
lsten: 127.0.0.1:5000
limits:
  blob_size: many
  blob_sice: 1
  members_per_registry: twenty
listen: 127.0.0.1:5000
log: verbose
upstream: {timeout: -1s}
external_urls: [https://a.test/path]
`)
	_, err := Load(Source{File: file, Environ: []string{"WEIR_GC_DELAY=soon", "WEIR_AUTH_LOGIN_RATE=x"}})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		`weir.yaml:2:1: unknown setting "lsten"; known here: data, listen`,
		"    2 | lsten: 127.0.0.1:5000\n        ^",
		`weir.yaml:4:14: limits.blob_size: want a size`,
		"    4 |   blob_size: many\n                     ^",
		`weir.yaml:5:3: unknown setting "limits.blob_sice"`,
		`weir.yaml:6:25: `,
		`weir.yaml:7:1: "listen" is set twice`,
		`weir.yaml:8:6: "log" wants settings below it`,
		`weir.yaml:9:21: upstream.timeout: want a duration`,
		`environment variable WEIR_GC_DELAY: want a duration`,
		`environment variable WEIR_AUTH_LOGIN_RATE: `,
		`external_urls: "https://a.test/path" is not a URL`,
		`listen: "nonsense" is not "host:port"`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("missing %q in:\n%v", want, err)
		}
	}
}

func TestOpsListenerOff(t *testing.T) {
	for name, src := range map[string]Source{
		"file":        {File: write(t, "ops: {listen: \"\"}\n")},
		"environment": {Environ: []string{"WEIR_OPS_LISTEN="}},
		"over file":   {File: write(t, "ops: {listen: \"127.0.0.1:1\"}\n"), Environ: []string{"WEIR_OPS_LISTEN="}},
	} {
		c, err := Load(src)
		if err != nil || c.Ops.Listen != "" {
			t.Errorf("%s: %q, %v", name, c.Ops.Listen, err)
		}
	}
}

func TestSyntaxErrorHasAPlace(t *testing.T) {
	for _, text := range []string{"listen: [a\n", "a: b: c\n", "\tlisten: x\n"} {
		_, err := Load(Source{File: write(t, text)})
		if err == nil || !strings.Contains(err.Error(), "weir.yaml:1:") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestChecks(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*Config)
		want   string
	}{
		"half tls":        {func(c *Config) { c.TLS.CertFile = "x" }, "tls: cert_file and key_file belong together"},
		"engine":          {func(c *Config) { c.Database.Engine = "mysql" }, `database.engine: "mysql" is not one of sqlite, postgres`},
		"no dsn":          {func(c *Config) { c.Database.Engine = "postgres" }, "database.dsn: is needed"},
		"dsn with sqlite": {func(c *Config) { c.Database.DSN = "postgres://h/db" }, "database.dsn: is set, but the engine is sqlite"},
		"same listener":   {func(c *Config) { c.Ops.Listen = c.Listen }, "ops.listen: must differ"},
		"proxies":         {func(c *Config) { c.TrustedProxies = []string{"10.0.0.0/8", "10.1"} }, `trusted_proxies: "10.1" is neither`},
		"watermarks":      {func(c *Config) { c.Cache.LowWatermark = 99 }, "cache: wants 1 <= low_watermark"},
		"two keysets":     {func(c *Config) { c.Keys = Keys{KeysetFile: "a", Env: "B"} }, "keys: keyset_file and env exclude each other"},
		"no members":      {func(c *Config) { c.Limits.MembersPerRegistry = 0 }, "limits.members_per_registry: must be at least 1"},
		"port":            {func(c *Config) { c.Listen = ":http" }, "listen: "},
		"userinfo in url": {func(c *Config) { c.ExternalURLs = []string{"https://u:p@a.test"} }, "external_urls: "},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Load(Source{Override: tc.change})
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %s", err, tc.want)
			}
		})
	}
}

func TestPrintMasksSecretsAndReadsBack(t *testing.T) {
	c := Default()
	c.Database = Database{Engine: "postgres", DSN: "postgres://weir:hunter2@db.test/weir?sslmode=require"}
	out, err := Print(c)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out, "hunter2") {
		t.Errorf("the password shows:\n%s", out)
	}
	got, err := Load(Source{File: write(t, out)})
	if err != nil {
		t.Fatalf("%v in:\n%s", err, out)
	}
	if got.Limits != c.Limits || got.Upstream != c.Upstream {
		t.Errorf("read back %+v", got)
	}
}

func TestDSNMasks(t *testing.T) {
	for _, dsn := range []string{
		"postgres://u:s3cret@h/db", "host=h user=u password=s3cret dbname=d", "host=h password='s3c ret s3cret' x=y",
		"postgres://h/db?user=u&password=s3cret", "postgres://u:s3cret@h:bad port/db", "host=h PASSWORD = s3cret", `password='it\'s s3cret'`,
		"postgres://h/db?sslpassword=s3cret&a=b",
	} {
		if got := DSN(dsn).String(); strings.Contains(got, "s3cret") || strings.Contains(got, "ret s3") {
			t.Errorf("%q shows as %q", dsn, got)
		}
	}
	if got := DSN("postgres://u:p@h/db").String(); got != "postgres://u:********@h/db" {
		t.Error(got)
	}
}

func TestErrorsKeepSecrets(t *testing.T) {
	file := write(t, "database: {engine: postgres, dsn: 'postgres://u:s3cret@h/db', engin: x}\n")
	if _, err := Load(Source{File: file}); err == nil || strings.Contains(err.Error(), "s3cret") {
		t.Error(err)
	}
}

// A variable that is set and empty takes a value of the file back, where empty means something.
func TestEmptyVariables(t *testing.T) {
	file := write(t, "ops: {listen: ':9'}\nenvironment: test\nlog: {level: debug}\ntls: {cert_file: a, key_file: b}\n")
	c, err := Load(Source{File: file, Environ: []string{"WEIR_OPS_LISTEN=", "WEIR_ENVIRONMENT=", "WEIR_LOG_LEVEL=", "WEIR_TLS_CERT_FILE=", "WEIR_TLS_KEY_FILE="}})
	if err != nil {
		t.Fatal(err)
	}
	if c.Ops.Listen != "" || c.Environment != "" || c.TLS != (TLS{}) || c.Log.Level != "debug" {
		t.Errorf("%+v", c)
	}
}

func TestUnknownVariables(t *testing.T) {
	got := Unknown([]string{"WEIR_DATA=x", "WEIR_LISTN=y", "WEIR_ADMIN_PASSWORD=z", "PATH=/bin"}, "WEIR_ADMIN_PASSWORD")
	if diff := cmp.Diff([]string{"WEIR_LISTN"}, got); diff != "" {
		t.Error(diff)
	}
}

// Every setting must be reachable as WEIR_<PATH>: the env tags mirror the yaml tags.
func TestVariablesFollowPaths(t *testing.T) {
	var walk func(reflect.Type)
	walk = func(typ reflect.Type) {
		for f := range typ.Fields() {
			name := strings.ToUpper(f.Tag.Get("yaml"))
			if f.Type.Kind() == reflect.Struct {
				if f.Tag.Get("envPrefix") != name+"_" {
					t.Errorf("%s.%s: envPrefix is not %s_", typ, f.Name, name)
				}
				walk(f.Type)
			} else if f.Type.Kind() == reflect.Slice && f.Type.Elem().Kind() == reflect.Struct {
				continue // only a file can hold it
			} else if f.Tag.Get("env") != name {
				t.Errorf("%s.%s: env is not %s", typ, f.Name, name)
			}
		}
	}
	walk(reflect.TypeFor[Config]())
}

func TestValues(t *testing.T) {
	for text, want := range map[string]Bytes{"0": 0, "1024": 1024, "10GiB": 10 << 30, "10 GB": 10e9, "512mib": 512 << 20, "7B": 7} {
		var b Bytes
		if err := b.UnmarshalText([]byte(text)); err != nil || b != want {
			t.Errorf("%q: %d, %v", text, b, err)
		}
	}
	for _, text := range []string{"", "-1", "1.5GiB", "GiB", "9999999999TiB", "1 PiB"} {
		var b Bytes
		if err := b.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q: accepted as %d", text, b)
		}
	}
	for text, want := range map[string]string{"24h": "24h", "90s": "1m30s", "7d": "168h", "0s": "0s", "400ms": "400ms", "10m": "10m", "1h30m": "1h30m", "100s": "1m40s"} {
		var d Duration
		if err := d.UnmarshalText([]byte(text)); err != nil || d.String() != want {
			t.Errorf("%q: %s, %v", text, d, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add("listen: x\n")
	f.Add("limits: {blob_size: 1, blob_size: 2}\n")
	f.Add("a: &x [*x]\n<<: *x\n")
	f.Add("? [a]\n: b\n---\nc")
	f.Fuzz(func(_ *testing.T, text string) {
		c := Default()
		for _, err := range decode("f", []byte(text), &c) {
			_ = err.Error()
		}
	})
}
