// Package config is the server's settings: one documented struct, read from a YAML file, WEIR_* variables and flags, in that
// order. Only package app and the command line see it; every other package has its own Options.
//
// Groups, registries, upstreams, rules and grants are not settings: they live in the database and change through the API.
// The comments of the fields are the reference page, docs/reference/configuration.md, which a golden test keeps in step.
package config

import "time"

// Config is every setting of a server. Durations are written "90s", "5m", "24h" or "7d", sizes "512MiB" or "10GB" or as a
// plain number of bytes.
type Config struct {
	// Folder of everything the server keeps unless told otherwise: database, blobs, keyset and local socket. Created with mode
	// 0700 when it does not exist.
	Data string `yaml:"data" env:"DATA"`

	// Address the registry and its API listen on. The default is reachable from this machine alone.
	Listen string `yaml:"listen" env:"LISTEN"`

	// URLs under which clients reach the server, the first being the preferred one: scheme and host, no path. Token realms
	// and links are built from them. Without any, only requests to a loopback address or a bound host name can log in.
	ExternalURLs []string `yaml:"external_urls" env:"EXTERNAL_URLS"`

	// Addresses (CIDR) of reverse proxies whose X-Forwarded-For, -Proto and -Host headers are believed. From anywhere else
	// these headers are ignored.
	TrustedProxies []string `yaml:"trusted_proxies" env:"TRUSTED_PROXIES"`

	// Name of this installation in log lines, such as "production".
	Environment string `yaml:"environment" env:"ENVIRONMENT"`

	// How long a shutdown waits for transfers to finish before they are persisted or cut.
	ShutdownTimeout Duration `yaml:"shutdown_timeout" env:"SHUTDOWN_TIMEOUT"`

	// TLS of the registry listener. Without it the server speaks plain HTTP, for a reverse proxy or this machine.
	TLS TLS `yaml:"tls" envPrefix:"TLS_"`

	// The second listener, for operators: metrics, health, profiles.
	Ops Ops `yaml:"ops" envPrefix:"OPS_"`

	// What is logged, and how.
	Log Log `yaml:"log" envPrefix:"LOG_"`

	// Where rows are kept.
	Database Database `yaml:"database" envPrefix:"DATABASE_"`

	// Where bytes are kept.
	Storage Storage `yaml:"storage" envPrefix:"STORAGE_"`

	// The keyset that seals secrets in the database. Losing it means entering every upstream credential again.
	Keys Keys `yaml:"keys" envPrefix:"KEYS_"`

	// Upper bounds.
	Limits Limits `yaml:"limits" envPrefix:"LIMITS_"`

	// Content cached from upstreams.
	Cache Cache `yaml:"cache" envPrefix:"CACHE_"`

	// Traffic to upstreams; an upstream's own settings come first.
	Upstream Upstream `yaml:"upstream" envPrefix:"UPSTREAM_"`

	// Collection of content that nothing refers to any more.
	GC GC `yaml:"gc" envPrefix:"GC_"`

	// Logins and tokens.
	Auth Auth `yaml:"auth" envPrefix:"AUTH_"`

	// The audit trail.
	Audit Audit `yaml:"audit" envPrefix:"AUDIT_"`
}

// TLS is the certificate of the listener.
type TLS struct {
	// PEM file with the certificate and its chain. Read again when it changes.
	CertFile string `yaml:"cert_file" env:"CERT_FILE"`
	// PEM file with the private key.
	KeyFile string `yaml:"key_file" env:"KEY_FILE"`
}

// Ops is the operators' listener.
type Ops struct {
	// Address of /metrics, /healthz, /readyz and /debug/pprof. These answer without login: keep the address private. Empty
	// turns the listener off.
	Listen string `yaml:"listen" env:"LISTEN"`
}

// Log is the log.
type Log struct {
	// Least level that is written: debug, info, warn or error.
	Level string `yaml:"level" env:"LEVEL"`
	// json or text.
	Format string `yaml:"format" env:"FORMAT"`
}

// Database is where rows are kept.
type Database struct {
	// sqlite (a file in the data folder; one server) or postgres (any number of replicas).
	Engine string `yaml:"engine" env:"ENGINE"`
	// Connection string of PostgreSQL, as a URL or key=value pairs. Its password is masked wherever settings are shown.
	DSN DSN `yaml:"dsn" env:"DSN"`
	// File of the SQLite database. Empty means weir.db in the data folder.
	Path string `yaml:"path" env:"PATH"`
}

// Storage is where bytes are kept.
type Storage struct {
	// fs: a folder.
	Kind string `yaml:"kind" env:"KIND"`
	// The folder. Empty means blobs in the data folder.
	Path string `yaml:"path" env:"PATH"`
}

// Keys is the sealing keyset.
type Keys struct {
	// File of the keyset, created on first start; it must be readable by its owner alone. Empty means keys/keyset.json in the
	// data folder.
	KeysetFile string `yaml:"keyset_file" env:"KEYSET_FILE"`
	// Name of an environment variable that holds the keyset instead of a file.
	Env string `yaml:"env" env:"ENV"`
}

// Limits are upper bounds.
type Limits struct {
	// Members of one virtual registry.
	MembersPerRegistry int `yaml:"members_per_registry" env:"MEMBERS_PER_REGISTRY"`
	// Virtual registries of one group.
	RegistriesPerGroup int `yaml:"registries_per_group" env:"REGISTRIES_PER_GROUP"`
	// Size of one pushed blob. 0 means no limit.
	BlobSize Bytes `yaml:"blob_size" env:"BLOB_SIZE"`
	// Age at which an upload that nobody continues is dropped.
	UploadTTL Duration `yaml:"upload_ttl" env:"UPLOAD_TTL"`
	// Uploads of one group that are begun and not finished. More get 429, until some end or expire.
	UploadsPerGroup int `yaml:"uploads_per_group" env:"UPLOADS_PER_GROUP"`
	// Transfers from upstreams at once for one group. More wait, then get 429.
	FillsPerGroup int `yaml:"fills_per_group" env:"FILLS_PER_GROUP"`
	// Transfers at once from one upstream.
	FillsPerUpstream int `yaml:"fills_per_upstream" env:"FILLS_PER_UPSTREAM"`
	// Transfers from upstreams at once on behalf of one user; all anonymous clients of one address count as one user.
	FillsPerPrincipal int `yaml:"fills_per_principal" env:"FILLS_PER_PRINCIPAL"`
	// Requests per minute of one user, robot or workload, on each replica; that many may also come at once. More get 429 with
	// Retry-After. 0 means no limit, the default: a pull of a large image is some fifty requests.
	RequestsPerPrincipal int `yaml:"requests_per_principal" env:"REQUESTS_PER_PRINCIPAL"`
	// The same for one client address (of IPv6 one network of 64 bits), logged in or not. 0 means no limit, the default: all
	// builds behind one NAT share an address, and so do all clients behind a proxy that is missing in trusted_proxies.
	RequestsPerAddress int `yaml:"requests_per_address" env:"REQUESTS_PER_ADDRESS"`
}

// Cache is content cached from upstreams.
type Cache struct {
	// Bytes of cached content to keep. 0 means no limit but the disk. Hosted content is not counted.
	Budget Bytes `yaml:"budget" env:"BUDGET"`
	// Share of the budget, in percent, above which the least recently pulled content is evicted.
	HighWatermark int `yaml:"high_watermark" env:"HIGH_WATERMARK"`
	// Share of the budget, in percent, at which eviction stops.
	LowWatermark int `yaml:"low_watermark" env:"LOW_WATERMARK"`
	// How long an upstream's "not found" or "denied" is believed.
	NegativeTTL Duration `yaml:"negative_ttl" env:"NEGATIVE_TTL"`
}

// Upstream is traffic to upstreams.
type Upstream struct {
	// Allow upstreams at private, loopback and link-local addresses. Off, because a group owner could otherwise make the
	// server ask services of your own network.
	AllowPrivateNetworks bool `yaml:"allow_private_networks" env:"ALLOW_PRIVATE_NETWORKS"`
	// Wait for the response headers of an upstream.
	Timeout Duration `yaml:"timeout" env:"TIMEOUT"`
	// Wait between two pieces of a body.
	IdleTimeout Duration `yaml:"idle_timeout" env:"IDLE_TIMEOUT"`
	// How long a client with a stale cached copy waits for the upstream to confirm it, before the copy is served as it is.
	RevalidateWait Duration `yaml:"revalidate_wait" env:"REVALIDATE_WAIT"`
	// Requests at once to one upstream.
	Concurrency int `yaml:"concurrency" env:"CONCURRENCY"`
}

// GC is collection.
type GC struct {
	// How long content without references is kept before it is collected: the time a push may take from its first blob to
	// its manifest.
	Delay Duration `yaml:"delay" env:"DELAY"`
}

// Audit is the audit trail.
type Audit struct {
	// Whether pulls, refusals and logins are recorded, each of them. Changes always are.
	Pulls bool `yaml:"pulls" env:"PULLS"`
	// How long changes are kept. 0 means for ever.
	KeepChanges Duration `yaml:"keep_changes" env:"KEEP_CHANGES"`
	// How long pulls are kept. 0 means for ever.
	KeepPulls Duration `yaml:"keep_pulls" env:"KEEP_PULLS"`
	// How long refusals and logins are kept. 0 means for ever.
	KeepAccess Duration `yaml:"keep_access" env:"KEEP_ACCESS"`
	// Where events also go, as JSON lines, for another system to collect: none, stdout, or the path of a file. They are kept all the same.
	Sink string `yaml:"sink" env:"SINK"`
	// Kinds of events that go there, as patterns: tag.* or *.denied.
	SinkKinds []string `yaml:"sink_kinds" env:"SINK_KINDS"`
}

// Values of Audit.Sink that are no path.
const (
	SinkNone   = "none"
	SinkStdout = "stdout"
)

// Auth is logins and tokens.
type Auth struct {
	// Life of the bearer tokens that clients get from /token. Changes of rights apply at once whatever it is.
	TokenTTL Duration `yaml:"token_ttl" env:"TOKEN_TTL"`
	// Failed logins allowed per minute for one user name, or one token, from one address, before answers become 429. In all,
	// a user name may fail three times as often, so that a single address cannot lock a user out, and an address five times as
	// often, so that one wrong login does not keep others behind the same address out.
	LoginRate int `yaml:"login_rate" env:"LOGIN_RATE"`
	// How long a browser stays logged in without being used.
	SessionIdle Duration `yaml:"session_idle" env:"SESSION_IDLE"`
	// How long a browser stays logged in however much it is used.
	SessionLifetime Duration `yaml:"session_lifetime" env:"SESSION_LIFETIME"`
	// Identity providers (OpenID Connect) that people sign in with, beside local passwords. They come back to
	// <external URL>/auth/<name>/callback, which the provider has to know.
	Providers []Provider `yaml:"providers"`
}

// Provider is an identity provider.
type Provider struct {
	// Name of the provider in addresses and events: lower-case letters, digits and dashes.
	Name string `yaml:"name"`
	// URL of the issuer; its endpoints are found below it.
	Issuer string `yaml:"issuer"`
	// What the provider knows this server as.
	ClientID string `yaml:"client_id"`
	// File with the client's secret. Neither this nor client_secret_env is needed for a public client.
	ClientSecretFile string `yaml:"client_secret_file"`
	// Name of the environment variable with the client's secret.
	ClientSecretEnv string `yaml:"client_secret_env"`
	// Scopes to ask for beside openid, such as profile, email and groups.
	Scopes []string `yaml:"scopes"`
	// Claim that becomes the user name of somebody new. Default: preferred_username, else email.
	NameClaim string `yaml:"name_claim"`
	// Domains of verified mail addresses that may sign in. Default: whoever the provider signs in.
	Domains []string `yaml:"domains"`
	// Grants for who has a value in a claim. They are made anew at each sign-in; what people have granted stays.
	Mapping []Mapping `yaml:"mapping"`
}

// Mapping gives a role for a claim.
type Mapping struct {
	// Name of the claim, such as groups; one within another is written with a slash.
	Claim string `yaml:"claim"`
	// Value that it has, or that one element of a list has; * stands for any characters, ? for one.
	Value string `yaml:"value"`
	// Group of the grant. Empty: the instance, so that the role counts in every group.
	Group string `yaml:"group"`
	// Path of the grant below the group. Empty: all of it.
	Path string `yaml:"path"`
	// Role to give: a built-in one, or one of the group or the instance; admin for the instance alone.
	Role string `yaml:"role"`
}

// Default returns the settings of a server without any configuration.
func Default() Config {
	return Config{
		Data:            "./data",
		Listen:          "127.0.0.1:5000",
		ShutdownTimeout: Duration(30 * time.Second),
		Ops:             Ops{Listen: "127.0.0.1:5001"},
		Log:             Log{Level: "info", Format: "json"},
		Database:        Database{Engine: "sqlite"},
		Storage:         Storage{Kind: "fs"},
		Limits: Limits{
			MembersPerRegistry: 20, RegistriesPerGroup: 100, UploadTTL: Duration(24 * time.Hour),
			UploadsPerGroup: 10_000, FillsPerGroup: 256, FillsPerUpstream: 64, FillsPerPrincipal: 32,
		},
		Cache: Cache{HighWatermark: 95, LowWatermark: 85, NegativeTTL: Duration(30 * time.Second)},
		Upstream: Upstream{
			Timeout: Duration(10 * time.Second), IdleTimeout: Duration(30 * time.Second),
			RevalidateWait: Duration(400 * time.Millisecond), Concurrency: 32,
		},
		GC:   GC{Delay: Duration(24 * time.Hour)},
		Auth: Auth{TokenTTL: Duration(5 * time.Minute), LoginRate: 10, SessionIdle: Duration(8 * time.Hour), SessionLifetime: Duration(7 * 24 * time.Hour)},

		Audit: Audit{Pulls: true, KeepChanges: Duration(400 * 24 * time.Hour), KeepPulls: Duration(30 * 24 * time.Hour), KeepAccess: Duration(90 * 24 * time.Hour),
			Sink: SinkNone, SinkKinds: []string{"*"}},
	}
}
