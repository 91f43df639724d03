package stack

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/weir-registry/weir/internal/client"
)

// Process is a server as a process of its own, which can be killed.
type Process struct {
	Remote
	Data string
	Log  *Log
	API  *client.Client
	Env  []string // settings of the next Start, as NAME=value

	t       *testing.T
	program string
	cmd     *exec.Cmd
}

// StartProgram is StartProcess for a program that was built differently.
func StartProgram(t *testing.T, program string, env ...string) *Process {
	t.Helper()
	p := &Process{t: t, Data: Folder(t), Env: env, program: program}
	p.Start()
	t.Cleanup(p.Kill)
	return p
}

// Binary builds the program once for each test process and returns its path.
func Binary(t testing.TB) string {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

var binary = sync.OnceValues(func() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "../../bin/weir-"+filepath.Base(dir)) // packages are tested side by side
	if out, err := exec.Command("go", "build", "-o", path, "../../cmd/weir").CombinedOutput(); err != nil {
		return "", fmt.Errorf("build: %w\n%s", err, out)
	}
	return path, nil
})

// StartProcess starts the program with a new data folder and settings as NAME=value. It ends with the test.
func StartProcess(t *testing.T, env ...string) *Process {
	t.Helper()
	return StartProgram(t, Binary(t), env...)
}

// Start starts the program again after Kill or Stop.
func (p *Process) Start() {
	p.t.Helper()
	var err error
	for range 5 { // a free port may be taken when the server wants it
		if err = p.start(); err == nil {
			return
		}
	}
	p.t.Fatal(err)
}

func (p *Process) start() error {
	address := freeAddress(p.t)
	p.Log = newLog()
	p.cmd = exec.Command(p.program, "serve", "--data", p.Data, "--listen", address)
	p.cmd.Env = append(os.Environ(), "WEIR_OPS_LISTEN=", "WEIR_LOG_LEVEL=debug", "WEIR_UPSTREAM_ALLOW_PRIVATE_NETWORKS=true", "WEIR_ADMIN_PASSWORD="+adminPassword)
	p.cmd.Env = append(p.cmd.Env, p.Env...)
	p.cmd.Stdout, p.cmd.Stderr = p.Log, p.Log
	if err := p.cmd.Start(); err != nil {
		return err
	}
	select {
	case <-p.Log.ready:
	case <-time.After(time.Minute):
		p.Kill()
		return fmt.Errorf("the server does not start:\n%s", p.Log)
	}
	api, err := client.New(client.Options{Data: p.Data})
	p.API, p.Remote = api, Remote{URL: "http://" + address}
	return err
}

// Apply makes a declaration in the form of `weir apply` so.
func (p *Process) Apply(t *testing.T, yaml string) {
	t.Helper()
	apply(t, p.API, yaml)
}

// NewToken makes a personal token.
func (p *Process) NewToken(t *testing.T, user string) string {
	t.Helper()
	token, err := p.API.CreateToken(context.Background(), user, "test "+time.Now().Format(time.RFC3339Nano), time.Time{})
	if err != nil {
		t.Fatalf("token of %s: %v", user, err)
	}
	return token.Text
}

// Kill ends the process without a warning.
func (p *Process) Kill() {
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
	p.cmd = nil
}

// Stop asks the process to end, as an operator would, and returns its exit code.
func (p *Process) Stop() int {
	p.t.Helper()
	p.Terminate()
	return p.Wait()
}

// Terminate asks the process to end.
func (p *Process) Terminate() {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatal(err)
	}
}

// Wait waits for the end of the process and returns its exit code, -1 if a signal ended it.
func (p *Process) Wait() int {
	p.t.Helper()
	late := time.AfterFunc(time.Minute, func() {
		p.t.Errorf("the process does not end\n%s", p.Log)
		_ = p.cmd.Process.Kill()
	})
	defer late.Stop()
	_ = p.cmd.Wait()
	code := p.cmd.ProcessState.ExitCode()
	p.cmd = nil
	return code
}

// LimitFiles sets how many files the running process may open.
func (p *Process) LimitFiles(t *testing.T, n int) {
	t.Helper()
	out, err := exec.Command("prlimit", "--pid", strconv.Itoa(p.cmd.Process.Pid), fmt.Sprintf("--nofile=%d:", n)).CombinedOutput()
	if err != nil {
		t.Fatalf("limit the files of the process: %v\n%s", err, out)
	}
}
