package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const (
	acceptManifest = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.v2+json"
	adminPassword  = "bench-password-of-the-admin"
)

// target is a server with the names its repositories have there and the way its clients prove who they are.
type target struct {
	*process
	folder string
	prefix string                                                                // before each repository's name
	login  func(ctx context.Context, repository, actions string) (string, error) // an Authorization header; nil: anonymous
}

// base is the URL of a repository.
func (t *target) base(repository string) string { return t.url + "/v2/" + t.prefix + repository }

func (t *target) authorization(ctx context.Context, repository, actions string) (string, error) {
	if t.login == nil {
		return "", nil
	}
	return t.login(ctx, t.prefix+repository, actions)
}

// at is the same server with other names and as another client.
func (t *target) at(prefix string, login func(context.Context, string, string) (string, error)) *target {
	return &target{t.process, t.folder, prefix, login}
}

// startFloor starts this program in a role; control is where an upstream takes orders.
func startFloor(ctx context.Context, dir, role, root string) (t *target, control string, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, "", err
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), roleVariable+"="+role+" "+root)
	out, in, err := os.Pipe()
	if err != nil {
		return nil, "", err
	}
	defer out.Close()
	cmd.Stdout = in
	p, err := begin(role, filepath.Join(dir, role+".log"), cmd)
	in.Close()
	if err != nil {
		return nil, "", err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		p.stop()
		return nil, "", fmt.Errorf("%s does not say where it listens: %w", role, err)
	}
	p.url, control, _ = strings.Cut(strings.TrimSpace(line), " ")
	return &target{process: p, folder: root}, control, nil
}

// declaration is the group of every run: hosted repositories and a cache, both open to anonymous pulls, so that the same requests
// can be measured with a token and without.
const declaration = `
groups:
  - name: bench
    upstreams:
      - name: origin
        url: %s
        freshness: {default: %s}
    registries:
      - name: cache
        anonymous_pull: true
        members: [{upstream: origin}]
    hosted:
      - {prefix: hosted, anonymous_pull: true}
`

const (
	hostedPrefix = "bench/hosted/"
	cachePrefix  = "bench/cache/"
)

// launchWeir starts the server with its defaults on a folder.
func launchWeir(ctx context.Context, binary, folder string, environment ...string) (*process, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	ops, err := freeAddress()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(binary, "serve", "--data", filepath.Join(folder, "data"), "--listen", address)
	cmd.Env = append(os.Environ(), "WEIR_ADMIN_PASSWORD="+adminPassword, "WEIR_OPS_LISTEN="+ops,
		"WEIR_UPSTREAM_ALLOW_PRIVATE_NETWORKS=true", "WEIR_AUTH_TOKEN_TTL=1h")
	cmd.Env = append(cmd.Env, environment...)
	p, err := begin("weir", filepath.Join(folder, "log"), cmd)
	if err != nil {
		return nil, err
	}
	p.url, p.ops = "http://"+address, "http://"+ops
	if err := p.ready(ctx); err != nil {
		p.stop()
		return nil, err
	}
	return p, nil
}

// startWeir starts the server with an empty store, a hosted prefix and a cache in front of an upstream.
func startWeir(ctx context.Context, binary, folder, upstream, freshness string, environment ...string) (*target, error) {
	p, err := launchWeir(ctx, binary, folder, environment...)
	if err != nil {
		return nil, err
	}
	if upstream == "" {
		upstream = "http://127.0.0.1:9" // the discard port: nobody is there, and nothing asks
	}
	apply := exec.CommandContext(ctx, binary, "apply", "--data", filepath.Join(folder, "data"), "-f", "-")
	apply.Stdin = strings.NewReader(fmt.Sprintf(declaration, upstream, freshness))
	if out, err := apply.CombinedOutput(); err != nil {
		p.stop()
		return nil, fmt.Errorf("weir apply: %w\n%s", err, out)
	}
	login, err := weirLogin(ctx, binary, folder, p.url)
	if err != nil {
		p.stop()
		return nil, err
	}
	return &target{p, folder, hostedPrefix, login}, nil
}

// weirLogin makes a personal token, with which clients get their bearer tokens as docker does.
func weirLogin(ctx context.Context, binary, folder, base string) (func(context.Context, string, string) (string, error), error) {
	out, err := exec.CommandContext(ctx, binary, "token", "create", "--data", filepath.Join(folder, "data"), "--name", "bench").Output()
	if err != nil {
		return nil, fmt.Errorf("weir token create: %w", err)
	}
	personal := strings.TrimSpace(string(out))
	return func(ctx context.Context, repository, actions string) (string, error) {
		q := url.Values{"service": {strings.TrimPrefix(base, "http://")}, "scope": {"repository:" + repository + ":" + actions}}
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/token?"+q.Encode(), nil)
		if err != nil {
			return "", err
		}
		r.SetBasicAuth("admin", personal)
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			return "", err
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			return "", err
		}
		var answer struct{ Token string }
		if err := json.Unmarshal(text, &answer); err != nil || answer.Token == "" {
			return "", fmt.Errorf("no token: %s %s", resp.Status, text)
		}
		return "Bearer " + answer.Token, nil
	}, nil
}

// findDistribution finds the binary of distribution v3: test/tools.sh builds it.
func findDistribution() string {
	for _, dir := range []string{".tools/clients", "../../.tools/clients"} {
		if path, err := filepath.Abs(filepath.Join(dir, "registry")); err == nil {
			if _, err := os.Stat(path); err == nil {
				return path
			}
		}
	}
	path, _ := exec.LookPath("registry")
	return path
}

const distributionConfig = `
version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage:
  filesystem: {rootdirectory: %s}
  cache: {blobdescriptor: inmemory}
  delete: {enabled: true}
http: {addr: %s}
%s
`

// startDistribution starts distribution v3 as its documentation has it: files, descriptors cached in memory, no access log.
func startDistribution(ctx context.Context, binary, folder, upstream string) (*target, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	proxy := ""
	if upstream != "" {
		proxy = "proxy: {remoteurl: " + upstream + "}"
	}
	file := filepath.Join(folder, "config.yml")
	text := fmt.Sprintf(distributionConfig, filepath.Join(folder, "data"), address, proxy)
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		return nil, err
	}
	cmd := exec.Command(binary, "serve", file)
	cmd.Env = append(os.Environ(), "OTEL_TRACES_EXPORTER=none")
	p, err := begin("distribution", filepath.Join(folder, "log"), cmd)
	if err != nil {
		return nil, err
	}
	p.url = "http://" + address
	if err := p.ready(ctx); err != nil {
		p.stop()
		return nil, err
	}
	return &target{process: p, folder: folder}, nil
}

const nginxConfig = `
daemon off; worker_processes 2; %[4]s pid %[1]s/pid; error_log stderr error;
events { worker_connections 1024; }
http {
  access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000000; default_type application/octet-stream;
  open_file_cache max=100000 inactive=10m; open_file_cache_valid 10m;
  client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/proxy; fastcgi_temp_path %[1]s/fastcgi; uwsgi_temp_path %[1]s/uwsgi; scgi_temp_path %[1]s/scgi;
  server { listen %[2]s; root %[3]s; location /v2/ { } location ~ /manifests/ { default_type application/vnd.oci.image.manifest.v1+json; } }
}
`

// startNginx serves the tree as static files: the limit of what this machine's kernel does for a GET.
func startNginx(ctx context.Context, binary, folder, tree string) (*target, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	user := "" // its workers would give up root, and with it our folders
	if os.Getuid() == 0 {
		user = "user root;"
	}
	file := filepath.Join(folder, "nginx.conf")
	if err := os.WriteFile(file, fmt.Appendf(nil, nginxConfig, folder, address, tree, user), 0o644); err != nil {
		return nil, err
	}
	p, err := begin("nginx", filepath.Join(folder, "log"), exec.Command(binary, "-p", folder, "-c", file, "-e", "stderr"))
	if err != nil {
		return nil, err
	}
	p.url = "http://" + address
	if err := p.ready(ctx); err != nil {
		p.stop()
		return nil, err
	}
	return &target{process: p, folder: folder}, nil
}
