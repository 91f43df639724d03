package main

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weir-registry/weir/internal/client"
	"github.com/weir-registry/weir/internal/client/setup"
	"github.com/weir-registry/weir/internal/plan/desired"
)

// setupFlags are what `weir setup` goes by.
type setupFlags struct {
	target           setup.Target
	image, user      string
	check, anonymous bool
}

func newSetupCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "setup CLIENT --registry GROUP/REGISTRY", Short: "Print ready configuration for a container client", Args: cobra.ExactArgs(1),
		ValidArgs: setup.Clients(),
		Long: "Prints the files and commands that lead " + strings.Join(setup.Clients(), ", ") + " to a registry, by one of\n" +
			"its doors: path (the registry in the image's name), host (a host bound to it), mirror (the same, for Docker daemons),\n" +
			"ns (the client tells whose image it wants). With --check it does what the client would do for a pull, down to the config and\n" +
			"the smallest layer of the image, and says what came of each step; the exit code is 1 when there is no image at the end.",
		Example: "  weir setup containerd --registry acme/hub\n" +
			"  weir setup docker --registry acme/open --door mirror\n" +
			"  weir setup podman --registry acme/hub --check --image ghcr.io/org/app:1",
	}
	var f setupFlags
	flags := cmd.Flags()
	flags.StringVar(&f.target.Registry, "registry", "", "virtual registry, GROUP/REGISTRY")
	flags.StringVar(&f.target.Door, "door", "", "path, host, mirror or ns (default: the client's usual one)")
	flags.StringVar(&f.target.Bound, "host", "", "host that leads to the registry, for doors host and mirror (default: the one that is bound)")
	flags.StringSliceVar(&f.target.Images, "for", nil, "hosts whose images are to come through the registry (default: those that its members serve)")
	flags.StringVar(&f.target.CA, "ca", "", "file of a private certificate authority, as the client is to find it")
	flags.BoolVar(&f.target.Only, "only", false, "nobody else is to be asked for what Weir lacks or denies")
	flags.BoolVar(&f.check, "check", false, "ask for an image as the client would")
	flags.StringVar(&f.image, "image", "", "image to ask for, as the client names it (default: alpine)")
	flags.StringVarP(&f.user, "user", "u", "token", "user name to log in with; the password is the token of weir login or WEIR_TOKEN")
	flags.BoolVar(&f.anonymous, "anonymous", false, "ask without a login")
	_ = cmd.MarkFlagRequired("registry") // the flag exists
	_ = cmd.RegisterFlagCompletionFunc("door", cobra.FixedCompletions([]string{setup.Path, setup.Host, setup.Mirror, setup.NS}, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("registry", completeRegistries(clientFlags(cmd))) // the flag exists
	show := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		f.target.Client = args[0]
		if setup.DoorsOf(args[0]) == nil {
			return usage(noSuchClient(args[0]))
		}
		login, err := f.prepare(cmd)
		if err != nil {
			return err
		}
		if f.check {
			return f.tryOut(cmd, login, show)
		}
		s, err := setup.For(f.target)
		if err != nil {
			return orUsage(err)
		}
		if done, err := show(cmd.OutOrStdout(), s, paths(s.Files)...); done || err != nil {
			return err
		}
		_, err = fmt.Fprint(cmd.OutOrStdout(), s.Text())
		return err
	}
	return cmd
}

// noSuchClient names the clients that there are, first those that may be meant.
func noSuchClient(name string) string {
	var similar []string
	for _, c := range setup.Clients() {
		if near(c, name) {
			similar = append(similar, c)
		}
	}
	text := fmt.Sprintf("%q is none of %s", name, strings.Join(setup.Clients(), ", "))
	if len(similar) > 0 {
		text += "; did you mean " + strings.Join(similar, " or ") + "?"
	}
	return text
}

func orUsage(err error) error {
	if errors.Is(err, setup.ErrTarget) || errors.Is(err, setup.ErrNoImage) {
		return usage(err.Error())
	}
	return err
}

// prepare fills in the address of the server and what it knows of the registry, and returns the token to try it with.
func (f *setupFlags) prepare(cmd *cobra.Command) (token string, err error) {
	logins, err := readLogins()
	if err != nil {
		return "", err
	}
	data := cmd.Root().PersistentFlags().Lookup("data").Value.String()
	server := cmd.Flag("server").Value.String()
	if server == "" && hasSocket(data) {
		server = f.here(cmd, data)
	}
	if server == "" {
		server = logins.Current
	}
	if server == "" {
		return "", usage("say how clients reach the server: --server https://weir.example.com")
	}
	if f.target.Server, err = client.ServerAddress(server); err != nil {
		return "", usage(err.Error())
	}
	if token = os.Getenv("WEIR_TOKEN"); token == "" {
		if login, err := logins.Find(f.target.Server); err == nil {
			token = login.Token
		}
	}
	switch {
	case hasSocket(data):
		err = f.learn(cmd.Context(), client.Options{Data: data})
	case token != "":
		err = f.learn(cmd.Context(), client.Options{Server: f.target.Server, Token: token})
	}
	return token, err
}

// here is how the server whose data folder this is is reached; empty if it does not tell.
func (f *setupFlags) here(cmd *cobra.Command, data string) string {
	c, err := client.New(client.Options{Data: data})
	if err != nil {
		return ""
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), learnTime)
	defer cancel()
	var out struct {
		Addresses []string
		Features  map[string]bool
	}
	if err := c.Call(ctx, http.MethodGet, "/capabilities", nil, &out); err != nil || len(out.Addresses) == 0 {
		return ""
	}
	if !out.Features["external_urls"] {
		fmt.Fprintf(cmd.ErrOrStderr(), "the server has no external_urls: this is for clients that reach it at %s; --server says otherwise\n", out.Addresses[0])
	}
	return out.Addresses[0]
}

// learnTime bounds how long the server is asked about the registry. Without an answer there are defaults.
const learnTime = 5 * time.Second

// learn takes the hosts of images and the bound host from the server, as far as they were not given and it tells. The error is that of a
// registry of which the server says that it does not exist: a configuration for it would help nobody.
func (f *setupFlags) learn(ctx context.Context, from client.Options) error {
	c, err := client.New(from)
	if err != nil {
		return nil // there are defaults
	}
	ctx, cancel := context.WithTimeout(ctx, learnTime)
	defer cancel()
	group, name, _ := strings.Cut(f.target.Registry, "/")
	path := "/groups/" + url.PathEscape(group)
	images, err := imageHosts(ctx, c, path, name)
	if p, ok := errors.AsType[*client.Problem](err); ok && p.Status == http.StatusNotFound {
		return &codeError{errors.New("there is no registry " + f.target.Registry + ", or you may not see it"), exitNotFound}
	}
	if len(f.target.Images) == 0 {
		f.target.Images, f.target.Nameless = images, err == nil && len(images) == 0
	}
	if f.target.Bound == "" {
		bindings, err := client.All[desired.HostBinding](ctx, c, path+"/host-bindings")
		if err != nil {
			return nil // there are defaults
		}
		for _, b := range bindings {
			if b.Registry == name && desired.IsTrue(b.Mirror) == (f.target.Door == setup.Mirror) {
				f.target.Bound = b.Host
				break
			}
		}
	}
	return nil
}

// imageHosts are the hosts whose images the members of a registry serve, sorted. One with a port cannot be a part of an image's name, as
// clients would have to put it there.
func imageHosts(ctx context.Context, c *client.Client, path, registry string) ([]string, error) {
	members, err := client.All[desired.Member](ctx, c, path+"/registries/"+url.PathEscape(registry)+"/members")
	if err != nil {
		return nil, err
	}
	upstreams, err := client.All[desired.Upstream](ctx, c, path+"/upstreams")
	if err != nil {
		return nil, err
	}
	var out []string
	for _, m := range members {
		for _, u := range upstreams {
			if u.Name != m.Upstream || u.URL == "" {
				continue
			}
			if at, err := url.Parse(u.URL); err == nil && len(u.Hosts) == 0 {
				out = append(out, strings.Replace(at.Host, "registry-1.docker.io", "docker.io", 1))
			}
			out = append(out, u.Hosts...)
		}
	}
	out = slices.DeleteFunc(out, func(host string) bool { return strings.Contains(host, ":") })
	slices.Sort(out)
	return slices.Compact(out), nil
}

func paths(files []setup.File) (out []string) {
	for _, f := range files {
		out = append(out, f.Path)
	}
	return out
}

// trial is what a check came to, for programs.
type trial struct {
	Client string       `json:"client"`
	Door   string       `json:"door"`
	OK     bool         `json:"ok"` // the client gets the image
	Steps  []setup.Step `json:"steps"`
}

// tryOut does what the client would do for a pull.
func (f *setupFlags) tryOut(cmd *cobra.Command, token string, show printer) error {
	probe := setup.Probe{Image: f.image}
	if !f.anonymous && token != "" {
		probe.User, probe.Password = f.user, token
	}
	if f.target.CA != "" {
		text, err := os.ReadFile(f.target.CA)
		if err != nil {
			return err
		}
		if probe.Roots, err = x509.SystemCertPool(); err != nil {
			probe.Roots = x509.NewCertPool()
		}
		if !probe.Roots.AppendCertsFromPEM(text) {
			return fmt.Errorf("%s holds no certificate in PEM form", f.target.CA)
		}
	}
	out := cmd.OutOrStdout()
	p := working(cmd, "asking for the image")
	probe.Far = func(bytes, of int64) { p.tell("pulling: " + portion(byteSize(bytes), byteSize(of), of)) }
	t := trial{Client: f.target.Client, Door: cmp.Or(f.target.Door, setup.DoorsOf(f.target.Client)[0]), Steps: []setup.Step{}}
	ok, err := setup.Check(cmd.Context(), f.target, probe, func(s setup.Step) {
		if t.Steps = append(t.Steps, s); cmd.Flag("output").Value.String() == "table" {
			p.above(func() { tellStep(cmd, s) })
		}
	})
	p.stop()
	if err != nil {
		return orUsage(err)
	}
	var got []string
	if t.OK = ok; ok {
		got = append(got, t.Client)
	}
	if done, err := show(out, t, got...); err != nil || done && ok {
		return err
	}
	if !ok {
		return errReported
	}
	_, err = fmt.Fprintf(out, "%s gets it\n", f.target.Client)
	return err
}

// tellStep shows what came of a step, and what to do.
func tellStep(cmd *cobra.Command, s setup.Step) {
	out, mark := cmd.OutOrStdout(), "ok  "
	if !s.OK {
		mark = "FAIL"
	}
	fmt.Fprintf(out, "%s  %s\n      %s\n", mark, s.Name, s.Result)
	if s.Advice != "" {
		fmt.Fprintf(out, "      → %s\n", s.Advice)
	}
}
