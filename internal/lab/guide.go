package lab

import (
	"fmt"
	"strings"
)

// Login is what clients of an Upstream must show.
type Login struct{ Username, Password string }

// login returns the login that the upstream asks for now; zero if none.
func (u *Upstream) login() Login {
	u.mu.Lock()
	defer u.mu.Unlock()
	return Login{u.behavior.Username, u.behavior.Password}
}

// Declaration is what `weir apply` needs to put an upstream behind a Weir: group lab with the registry hub, whose tags are
// stale after ten seconds, so that one can watch both a fresh and a stale answer.
func Declaration(base string, login Login, ca string) string {
	var b strings.Builder
	b.WriteString("groups:\n- name: lab\n")
	credential := ""
	if login.Username != "" {
		fmt.Fprintf(&b, "  credentials: [{name: far, username: %q, password: %q}]\n", login.Username, login.Password)
		credential = "\n    credential: far"
	}
	fmt.Fprintf(&b, "  upstreams:\n  - name: far\n    url: %q%s\n    freshness: {default: 10s}\n", base, credential)
	if ca != "" {
		b.WriteString("    ca: |\n")
		for line := range strings.Lines(ca) {
			b.WriteString("      " + line)
		}
	}
	b.WriteString("  registries:\n  - {name: hub, anonymous_pull: true, members: [{upstream: far}]}\n")
	return b.String()
}

// Guide tells people what to do with an upstream at base that has the image example, "repository:tag".
func Guide(base, storage, example string) string {
	repository, tag, _ := strings.Cut(example, ":")
	return fmt.Sprintf(`The lab upstream is at %[1]s (it redirects blobs, if told to, to %[2]s).

1. Put it behind your Weir. The server must be allowed to reach it: WEIR_UPSTREAM_ALLOW_PRIVATE_NETWORKS=true weir serve

     curl -s %[1]s/_lab/apply.yaml | weir apply -f -

2. Pull through it (127.0.0.1:5000 stands for your Weir):

     curl -i http://127.0.0.1:5000/v2/lab/hub/%[3]s/manifests/%[4]s
     docker pull 127.0.0.1:5000/lab/hub/%[3]s:%[4]s
     weir explain lab/hub/%[3]s:%[4]s

3. Break it, pull again, and see what your clients see. Tags are stale after 10 seconds; what was never pulled is cold.

     curl -X PUT    -d 429,retry-after=7     %[1]s/_lab/faults   this alone is wrong from now on
     curl -X POST   -d hang,kind=blob,at=100 %[1]s/_lab/faults   this too
     curl           %[1]s/_lab/faults                            what is wrong, and how many requests met it
     curl -X DELETE %[1]s/_lab/faults                            all is well again

4. See what your installation asked, and how many bytes it took:

     curl           %[1]s/_lab/requests
     curl -X DELETE %[1]s/_lab/requests                          count from zero
     curl           %[1]s/_lab/images                            what there is to pull
     curl -X POST   %[1]s/_lab/expire                            every token and signed URL is invalid from now on

A fault is a name, or a name with options; several stand on lines of their own. weir lab upstream --help lists them. To see
"connection refused", stop this program: started again with the same flags it has the same images.
`, base, storage, repository, tag)
}

// Catalogue is the text of every fault with its options.
func Catalogue() string {
	var b strings.Builder
	var whole []string
	for _, e := range Faults() {
		fmt.Fprintf(&b, "  %-13s %s\n", e.Name, e.Meaning)
		for _, o := range e.Options {
			fmt.Fprintf(&b, "  %-13s   %s= %s (default: %s)\n", "", o.Name, o.Meaning, o.Default)
		}
		if e.Whole {
			whole = append(whole, e.Name)
		}
	}
	fmt.Fprintf(&b, "\nThese are about the upstream as a whole: %s.\nEvery other fault can be narrowed to some requests:\n\n", strings.Join(whole, ", "))
	for _, o := range Selectors() {
		fmt.Fprintf(&b, "  %-13s %s (default: %s)\n", o.Name+"=", o.Meaning, o.Default)
	}
	return b.String()
}
