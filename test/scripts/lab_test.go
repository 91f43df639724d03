package scripts

import (
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// labOutput keeps what a lab upstream says, and tells when it is ready.
type labOutput struct {
	mu    sync.Mutex
	text  strings.Builder
	ready chan string // its URL
}

var labURL = regexp.MustCompile(`(?m)^The lab upstream is at (http\S+) [^\n]*\n(?:.*\n)+.*has the same images\.$`)

// Write implements io.Writer.
func (o *labOutput) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text.Write(p)
	if m := labURL.FindStringSubmatch(o.text.String()); m != nil {
		select {
		case o.ready <- m[1]:
		default:
		}
	}
	return len(p), nil
}

// startLab starts a lab upstream that is stopped, in order, at the end of the story.
func startLab(ts *testscript.TestScript, neg bool, args []string) {
	if neg {
		ts.Fatalf("usage: lab [flags]")
	}
	out := &labOutput{ready: make(chan string, 1)}
	cmd := exec.Command(filepath.Join(ts.Getenv("WORK"), ".bin", "weir"), append([]string{"lab", "upstream", "--listen", "127.0.0.1:0"}, args...)...)
	cmd.Stdout, cmd.Stderr = out, out
	ts.Check(cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case url := <-out.ready:
		ts.Setenv("LAB", url)
	case err := <-ended:
		ts.Fatalf("the lab upstream ended: %v\n%s", err, out.text.String())
	case <-time.After(time.Minute):
		_ = cmd.Process.Kill()
		<-ended
		ts.Fatalf("the lab upstream does not start")
	}
	ts.Defer(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case err := <-ended:
			if err != nil {
				ts.Fatalf("the lab upstream stopped with %v", err)
			}
		case <-time.After(time.Minute):
			_ = cmd.Process.Kill()
			<-ended
			ts.Fatalf("the lab upstream does not stop")
		}
	})
	out.mu.Lock()
	defer out.mu.Unlock()
	_, _ = io.WriteString(ts.Stdout(), out.text.String())
}

// faults changes what is wrong with the lab upstream.
func faults(ts *testscript.TestScript, neg bool, args []string) {
	r, err := http.NewRequest(http.MethodPut, ts.Getenv("LAB")+"/_lab/faults", strings.NewReader(strings.Join(args, "\n")))
	ts.Check(err)
	resp, err := http.DefaultClient.Do(r)
	ts.Check(err)
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	ts.Check(err)
	_, _ = ts.Stdout().Write(body)
	if refused := resp.StatusCode != http.StatusOK; refused != neg {
		ts.Fatalf("faults %v: %s\n%s", args, resp.Status, body)
	}
}
