// Package scripts tests the command line with the real binary: each .txtar file here is one story. See the documentation of
// testscript for its language; commands of our own are
//
//	serve [flags]     start a server with the data folder $WEIR_DATA and wait until it is ready
//	stop              ask it to stop; it must exit with code 0
//	kill              end it without a warning
//	http METHOD PATH STATUS [user:password]   ask the server, or whatever a whole URL names; the answer's body is the standard output
//	exits CODE program [argument…]   run a program, which must end with this exit code
//	lab [flags]       start weir lab upstream, and set $LAB to its URL; what it says is the standard output
//	faults [fault…]   make these its faults; none heals it
package scripts

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/weir-registry/weir/internal/registry/registrytest"
	"github.com/weir-registry/weir/test/stack"
)

func TestScripts(t *testing.T) {
	binary := stack.Binary(t)
	u := registrytest.NewUpstream(t, registrytest.UpstreamOptions{})
	u.Put("library/app", []string{"1.0", "1.1"}, registrytest.RandomImage(1, 1, 1000))
	testscript.Run(t, testscript.Params{
		Dir: ".", WorkdirRoot: filepath.Dir(stack.Folder(t)), RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error { return setup(e, binary, u.URL()) },
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"serve": serve, "stop": stop, "kill": kill, "http": ask, "exits": exits, "lab": startLab, "faults": faults,
		},
	})
}

type serverKey struct{}

// server is the script's server process.
type server struct {
	cmd    *exec.Cmd
	output *output
}

func setup(e *testscript.Env, binary, upstream string) error {
	bin := filepath.Join(e.WorkDir, ".bin")
	if err := os.Mkdir(bin, 0o700); err != nil {
		return err
	}
	if err := os.Symlink(binary, filepath.Join(bin, "weir")); err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer func() { _ = l.Close() }()
	examples, err := filepath.Abs("../../deploy/examples")
	if err != nil {
		return err
	}
	e.Setenv("PATH", bin+string(filepath.ListSeparator)+e.Getenv("PATH"))
	e.Setenv("WEIR_DATA", filepath.Join(e.WorkDir, "data"))
	e.Setenv("WEIR_LISTEN", l.Addr().String())
	e.Setenv("WEIR_OPS_LISTEN", "")
	e.Setenv("WEIR_UPSTREAM_ALLOW_PRIVATE_NETWORKS", "true")
	e.Setenv("WEIR_ADMIN_PASSWORD", "correct-horse")
	e.Setenv("EXAMPLES", examples)
	e.Setenv("UPSTREAM", upstream)
	s := &server{}
	e.Values[serverKey{}] = s
	e.Defer(s.kill)
	return nil
}

// output keeps what the server writes.
type output struct {
	mu    sync.Mutex
	text  bytes.Buffer
	ready chan struct{}
	shown bool
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text.Write(p)
	if !o.shown && bytes.Contains(o.text.Bytes(), []byte(" is ready at ")) {
		o.shown = true
		close(o.ready)
	}
	return len(p), nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

func of(ts *testscript.TestScript) *server { return ts.Value(serverKey{}).(*server) }

func serve(ts *testscript.TestScript, neg bool, args []string) {
	s := of(ts)
	if neg || s.cmd != nil {
		ts.Fatalf("usage: serve [flags], once at a time")
	}
	s.output = &output{ready: make(chan struct{})}
	s.cmd = exec.Command(filepath.Join(ts.Getenv("WORK"), ".bin", "weir"), append([]string{"serve"}, args...)...)
	s.cmd.Dir, s.cmd.Stdout, s.cmd.Stderr = ts.Getenv("WORK"), s.output, s.output
	for _, name := range []string{
		"PATH", "HOME", "WEIR_DATA", "WEIR_LISTEN", "WEIR_OPS_LISTEN", "WEIR_UPSTREAM_ALLOW_PRIVATE_NETWORKS", "WEIR_ADMIN_PASSWORD",
	} {
		s.cmd.Env = append(s.cmd.Env, name+"="+ts.Getenv(name))
	}
	ts.Check(s.cmd.Start())
	select {
	case <-s.output.ready:
	case <-time.After(time.Minute):
		s.kill()
		ts.Fatalf("the server does not start:\n%s", s.output)
	}
}

func (s *server) kill() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
	s.cmd = nil
}

func kill(ts *testscript.TestScript, _ bool, _ []string) { of(ts).kill() }

// stop shows what the server wrote as standard output.
func stop(ts *testscript.TestScript, _ bool, _ []string) {
	s := of(ts)
	ts.Check(s.cmd.Process.Signal(syscall.SIGTERM))
	err := s.cmd.Wait()
	s.cmd = nil
	if err != nil {
		ts.Fatalf("the server stopped with %v:\n%s", err, s.output)
	}
	_, _ = io.WriteString(ts.Stdout(), s.output.String())
}

func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE program [argument…]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		exit, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

func ask(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: http METHOD PATH STATUS [user:password]")
	}
	want, err := strconv.Atoi(args[2])
	ts.Check(err)
	target := args[1]
	if strings.HasPrefix(target, "/") {
		target = "http://" + ts.Getenv("WEIR_LISTEN") + target
	}
	r, err := http.NewRequest(args[0], target, nil)
	ts.Check(err)
	if len(args) > 3 {
		user, password, _ := strings.Cut(args[3], ":")
		r.SetBasicAuth(user, password)
	}
	resp, err := http.DefaultClient.Do(r)
	ts.Check(err)
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	ts.Check(err)
	_, _ = ts.Stdout().Write(body)
	if resp.StatusCode != want {
		ts.Fatalf("%s %s: %s, want %d\n%s", args[0], args[1], resp.Status, want, body)
	}
}
