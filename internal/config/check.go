package config

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// check returns every contradiction in the settings, named by their path.
func (c *Config) check() []error {
	var p problems
	p.require("data", c.Data)
	p.address("listen", c.Listen)
	if c.Ops.Listen != "" {
		p.address("ops.listen", c.Ops.Listen)
		if c.Ops.Listen == c.Listen && !strings.HasSuffix(c.Listen, ":0") {
			p.addf("ops.listen", "must differ from listen: operators' pages answer without login")
		}
	}
	for _, u := range c.ExternalURLs {
		p.externalURL(u)
	}
	for _, n := range c.TrustedProxies {
		if _, err := netip.ParsePrefix(n); err != nil {
			if _, err := netip.ParseAddr(n); err != nil {
				p.addf("trusted_proxies", "%q is neither an address nor a network such as 10.0.0.0/8", n)
			}
		}
	}
	p.require("audit.sink", c.Audit.Sink)
	if !slices.Contains([]string{"", SinkNone, SinkStdout}, c.Audit.Sink) && !filepath.IsAbs(c.Audit.Sink) {
		p.addf("audit.sink", "%q is none of none, stdout and the absolute path of a file", c.Audit.Sink)
	}
	if len(c.Audit.SinkKinds) == 0 {
		p.addf("audit.sink_kinds", "is empty: nothing would go there; for all events say \"*\"")
	}
	if (c.TLS.CertFile == "") != (c.TLS.KeyFile == "") {
		p.addf("tls", "cert_file and key_file belong together: set both or none")
	}
	p.oneOf("log.level", c.Log.Level, "debug", "info", "warn", "error")
	p.oneOf("log.format", c.Log.Format, "json", "text")
	c.checkStores(&p)
	c.checkNumbers(&p)
	c.checkProviders(&p)
	return p
}

func (c *Config) checkStores(p *problems) {
	p.oneOf("database.engine", c.Database.Engine, "sqlite", "postgres")
	switch {
	case c.Database.Engine == "postgres" && c.Database.DSN == "":
		p.addf("database.dsn", "is needed with engine postgres")
	case c.Database.Engine == "sqlite" && c.Database.DSN != "":
		p.addf("database.dsn", "is set, but the engine is sqlite; set database.engine to postgres, or database.path")
	case c.Database.Engine == "postgres" && c.Database.Path != "":
		p.addf("database.path", "is set, but the engine is postgres")
	}
	p.oneOf("storage.kind", c.Storage.Kind, "fs")
	if c.Keys.Env != "" && c.Keys.KeysetFile != "" {
		p.addf("keys", "keyset_file and env exclude each other")
	}
}

func (c *Config) checkNumbers(p *problems) {
	p.atLeastOne("limits.members_per_registry", int64(c.Limits.MembersPerRegistry))
	p.atLeastOne("limits.registries_per_group", int64(c.Limits.RegistriesPerGroup))
	p.atLeastOne("limits.uploads_per_group", int64(c.Limits.UploadsPerGroup))
	p.atLeastOne("limits.fills_per_group", int64(c.Limits.FillsPerGroup))
	p.atLeastOne("limits.fills_per_upstream", int64(c.Limits.FillsPerUpstream))
	p.atLeastOne("limits.fills_per_principal", int64(c.Limits.FillsPerPrincipal))
	p.notNegative("limits.requests_per_principal", int64(c.Limits.RequestsPerPrincipal))
	p.notNegative("limits.requests_per_address", int64(c.Limits.RequestsPerAddress))
	p.atLeastOne("upstream.concurrency", int64(c.Upstream.Concurrency))
	p.atLeastOne("auth.login_rate", int64(c.Auth.LoginRate))
	p.positive("limits.upload_ttl", c.Limits.UploadTTL)
	p.positive("upstream.timeout", c.Upstream.Timeout)
	p.positive("upstream.idle_timeout", c.Upstream.IdleTimeout)
	p.positive("auth.token_ttl", c.Auth.TokenTTL)
	p.positive("auth.session_idle", c.Auth.SessionIdle)
	p.positive("auth.session_lifetime", c.Auth.SessionLifetime)
	if h, l := c.Cache.HighWatermark, c.Cache.LowWatermark; l < 1 || l >= h || h > 100 {
		p.addf("cache", "wants 1 <= low_watermark < high_watermark <= 100, has %d and %d", l, h)
	}
}

var providerName = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)

func (c *Config) checkProviders(p *problems) {
	seen := map[string]bool{}
	for i, v := range c.Auth.Providers {
		at := fmt.Sprintf("auth.providers[%d]", i)
		if len(c.ExternalURLs) == 0 {
			p.addf(at, "needs external_urls: the provider sends browsers back there")
		}
		if !providerName.MatchString(v.Name) || v.Name == "password" || seen[v.Name] {
			p.addf(at+".name", "%q is not a name of its own: want lower-case letters, digits and dashes", v.Name)
		}
		seen[v.Name] = true
		if u, err := url.Parse(v.Issuer); err != nil || u.Host == "" || (u.Scheme != "https" && (u.Scheme != "http" || !isLoopback(u.Hostname()))) {
			p.addf(at+".issuer", `%q is not a URL such as "https://login.example.com"`, v.Issuer)
		}
		p.require(at+".client_id", v.ClientID)
		if v.ClientSecretFile != "" && v.ClientSecretEnv != "" {
			p.addf(at, "client_secret_file and client_secret_env exclude each other")
		}
		for j, m := range v.Mapping {
			where := fmt.Sprintf("%s.mapping[%d]", at, j)
			p.require(where+".claim", m.Claim)
			p.require(where+".value", m.Value)
			p.require(where+".role", m.Role)
			if m.Path != "" && m.Group == "" {
				p.addf(where+".path", "is below a group: name the group")
			}
		}
	}
}

func isLoopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.IsLoopback()
}

type problems []error

func (p *problems) addf(setting, format string, args ...any) {
	*p = append(*p, fmt.Errorf("%s: "+format, append([]any{setting}, args...)...))
}

func (p *problems) require(setting, value string) {
	if value == "" {
		p.addf(setting, "must not be empty")
	}
}

func (p *problems) oneOf(setting, value string, allowed ...string) {
	if !slices.Contains(allowed, value) {
		p.addf(setting, "%q is not one of %s", value, strings.Join(allowed, ", "))
	}
}

func (p *problems) atLeastOne(setting string, value int64) {
	if value < 1 {
		p.addf(setting, "must be at least 1, is %d", value)
	}
}

func (p *problems) notNegative(setting string, value int64) {
	if value < 0 {
		p.addf(setting, "must not be negative, is %d", value)
	}
}

func (p *problems) positive(setting string, value Duration) {
	if value <= 0 {
		p.addf(setting, "must be above 0")
	}
}

func (p *problems) address(setting, value string) {
	_, port, err := net.SplitHostPort(value)
	if err != nil {
		p.addf(setting, `%q is not "host:port"; write ":5000" to listen on every address`, value)
		return
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		p.addf(setting, "%q has no port between 0 and 65535", value)
	}
}

func (p *problems) externalURL(value string) {
	u, err := url.Parse(value)
	if err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Host == "" || u.User != nil ||
		strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		p.addf("external_urls", `%q is not a URL such as "https://registry.example.com" (clients cannot use a path)`, value)
	}
}
