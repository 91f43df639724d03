// Package setup makes ready configuration of container clients for a registry of Weir, and tries whether a client would get an
// image with it. `weir setup` calls it. What docs/how-to/clients.md shows comes from here: a test holds both together.
//
// The configuration is kept in templates, one for each client and each of the doors below that the client can come in by.
package setup

import (
	"embed"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"text/template"

	"github.com/weir-registry/weir/internal/oci"
)

// Doors are the ways in which a client can name what it wants.
const (
	Path   = "path"   // the registry stands in the image's name
	Host   = "host"   // a host name of its own leads to the registry
	Mirror = "mirror" // the same, for Docker daemons: logins for other hosts count as anonymous
	NS     = "ns"     // the client adds ?ns= with the host of the image it wants
)

// client is a program that pulls images.
type client struct {
	doors  []string // that it can come in by, the usual one first
	pins   bool     // with door path it puts the image's own host into the path
	tellNS bool     // it adds ?ns= wherever an image's own host differs from the one it asks
	trust  string   // where it looks for a certificate authority
}

var clients = map[string]client{
	"docker":     {doors: []string{Path, Mirror, Host}, trust: "/etc/docker/certs.d/%s/ca.crt"},
	"containerd": {doors: []string{NS, Host, Path}, tellNS: true, trust: "ca.crt beside hosts.toml, and /etc/containerd/certs.d/%s/ca.crt"},
	"crio":       {doors: []string{Path, Host}, pins: true, trust: "/etc/containers/certs.d/%s/ca.crt"},
	"podman":     {doors: []string{Path, Host}, pins: true, trust: "/etc/containers/certs.d/%s/ca.crt"},
	"buildkit":   {doors: []string{NS, Host, Path}, tellNS: true, trust: `ca = […] of [registry."%s"] in buildkitd.toml`},
	"k3s":        {doors: []string{NS, Host, Path}, tellNS: true, trust: "configs.%s.tls.ca_file in registries.yaml"},
	"kaniko":     {doors: []string{Path, Host}, pins: true, trust: "--registry-certificate %s=FILE"},
	"helm":       {doors: []string{Path, Host}, trust: "--ca-file FILE, or the system's authorities (%s)"},
}

// Clients are the names of the clients that can be set up.
func Clients() []string {
	return []string{"docker", "containerd", "crio", "podman", "buildkit", "k3s", "kaniko", "helm"}
}

// DoorsOf are the doors that a client can come in by, the usual one first; nil for a client that is not known.
func DoorsOf(name string) []string { return clients[name].doors }

// Target is what a client is to be led to.
type Target struct {
	Client   string
	Door     string   // empty: the client's usual one
	Server   string   // such as https://weir.example.com
	Registry string   // <group>/<registry>
	Bound    string   // host name that leads to the registry, for doors host and mirror
	Images   []string // hosts whose images come through the registry: docker.io, ghcr.io
	Nameless bool     // no member serves images of a host that an image's name can hold; Images may then be empty
	CA       string   // file of a private certificate authority as the client is to find it; empty: the system's are enough
	Only     bool     // nobody else is to be asked for what Weir lacks or denies
}

// File is a file to be written on the client's machine.
type File struct {
	Path string `json:"path"`
	Text string `json:"text"`
}

// Setup is what is to be done for a client.
type Setup struct {
	Client   string   `json:"client"`
	Door     string   `json:"door"`
	Notes    []string `json:"notes"` // for people, a line each
	Files    []File   `json:"files"`
	Commands []string `json:"commands"` // to be run afterwards, some of them examples
}

//go:embed templates/*.tmpl
var texts embed.FS

// ErrTarget is the error of a target that no setup can be made for. Its text says why.
var ErrTarget = errors.New("cannot be set up so")

// check fills in what is left out and refuses what does not fit together; ErrTarget.
func (t *Target) check() error {
	c, known := clients[t.Client]
	if !known {
		return fmt.Errorf("%w: %q is none of %s", ErrTarget, t.Client, strings.Join(Clients(), ", "))
	}
	if t.Door == "" {
		t.Door = c.doors[0]
	}
	if !slices.Contains(c.doors, t.Door) {
		return fmt.Errorf("%w: %s cannot use door %s, but %s", ErrTarget, t.Client, t.Door, strings.Join(c.doors, ", "))
	}
	u, err := url.Parse(t.Server)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return fmt.Errorf("%w: the server's address must be a URL such as https://weir.example.com", ErrTarget)
	}
	t.Server = u.Scheme + "://" + u.Host
	if group, name, ok := strings.Cut(t.Registry, "/"); !ok || group == "" || name == "" || strings.Contains(name, "/") {
		return fmt.Errorf("%w: the registry must be named as GROUP/REGISTRY", ErrTarget)
	}
	if t.Bound == "" && (t.Door == Host || t.Door == Mirror) {
		return fmt.Errorf("%w: no host leads to %s; `weir binding create HOST --registry …` binds one, --host names it", ErrTarget, t.Registry)
	}
	if t.Only && (t.Door == Mirror || t.Client == "buildkit" && t.Door != Path) {
		return fmt.Errorf("%w: %s always asks the image's own host for what its mirror lacks or denies; --only takes door path", ErrTarget, t.Client)
	}
	if len(t.Images) == 0 && t.Nameless {
		if t.Door == NS || t.Door == Mirror || c.pins || t.Door == Host && c.tellNS {
			return fmt.Errorf("%w: no member of %s serves images of a host that a name can hold, so there is nothing that Weir could be asked for instead: "+
				"images are pulled as %s/%s/NAME; --for names hosts nevertheless", ErrTarget, t.Registry, u.Host, t.Registry)
		}
		return nil
	}
	if len(t.Images) == 0 {
		t.Images = []string{oci.HubHost}
	}
	return nil
}

// view is what templates see.
type view struct {
	Target
	Addr  string // host of the server, with its port
	URL   string // of the door: the server or the bound host
	Entry string // host of the door
	Plain bool   // no TLS
	First string // an image's host, for examples; empty: there is none
}

func (t Target) view() view {
	scheme, addr, _ := strings.Cut(t.Server, "://")
	v := view{Target: t, Addr: addr, URL: t.Server, Entry: addr, Plain: scheme == "http"}
	if len(t.Images) > 0 {
		v.First = t.Images[0]
	}
	if t.Door == Host || t.Door == Mirror {
		v.Entry, v.URL = t.Bound, scheme+"://"+t.Bound
	}
	return v
}

// For makes the setup for a target; ErrTarget.
func For(t Target) (Setup, error) {
	if err := t.check(); err != nil {
		return Setup{}, err
	}
	set, err := template.New("").Option("missingkey=error").Funcs(template.FuncMap{"hub": isHub}).ParseFS(texts, "templates/*.tmpl")
	if err != nil {
		return Setup{}, err
	}
	var out strings.Builder
	if err := set.ExecuteTemplate(&out, t.Client+"/"+t.Door, t.view()); err != nil {
		return Setup{}, err
	}
	s := split(out.String())
	s.Client, s.Door = t.Client, t.Door
	return s, nil
}

// split takes a rendered template apart: notes, then sections that begin with a line "-- NAME --", which is the path of a file or
// "shell" for commands.
func split(text string) Setup {
	s := Setup{Notes: []string{}, Files: []File{}, Commands: []string{}}
	section := ""
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		if name, ok := strings.CutPrefix(line, "-- "); ok && strings.HasSuffix(name, " --") {
			section = strings.TrimSuffix(name, " --")
			if section != "shell" {
				s.Files = append(s.Files, File{Path: section})
			}
			continue
		}
		switch {
		case section == "" && line != "":
			s.Notes = append(s.Notes, line)
		case section == "shell" && line != "":
			s.Commands = append(s.Commands, line)
		case section != "" && section != "shell":
			s.Files[len(s.Files)-1].Text += line + "\n"
		}
	}
	for i := range s.Files {
		s.Files[i].Text = strings.TrimRight(s.Files[i].Text, "\n") + "\n"
	}
	return s
}

// Text is a setup for people.
func (s Setup) Text() string {
	var b strings.Builder
	for _, note := range s.Notes {
		b.WriteString("# " + note + "\n")
	}
	for _, f := range s.Files {
		b.WriteString("\n# " + f.Path + "\n" + f.Text)
	}
	if len(s.Commands) > 0 {
		b.WriteString("\n# then\n" + strings.Join(s.Commands, "\n") + "\n")
	}
	return b.String()
}

// isHub reports whether a host is Docker Hub's.
func isHub(host string) bool { return oci.CanonicalHost(host) == oci.HubHost }
