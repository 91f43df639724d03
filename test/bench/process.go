package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is a server that is measured: a process, or several in one process group, that this program has started.
type process struct {
	name string
	url  string // scheme and host
	ops  string // of weir: scheme and host of its profiles
	cmd  *exec.Cmd
	pids []int
	done chan struct{} // closed when the first process has ended
	log  string        // file of its standard output and error
}

// begin starts a program in a process group of its own, with everything it prints in a file.
func begin(name, logFile string, cmd *exec.Cmd) (*process, error) {
	log, err := os.Create(logFile)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd.Stderr = log
	if cmd.Stdout == nil {
		cmd.Stdout = log
	}
	// The death signal ends it even if this program is killed.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	p := &process{name: name, cmd: cmd, pids: []int{cmd.Process.Pid}, done: make(chan struct{}), log: logFile}
	go func() {
		_ = cmd.Wait() // the exit code of a server that is told to end says nothing
		close(p.done)
	}()
	return p, nil
}

// ready waits until the server answers on its URL, with whatever status, and finds out which processes it consists of.
func (p *process) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url+"/v2/", nil)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(r)
		if err == nil {
			_ = resp.Body.Close()
			return p.family()
		}
		select {
		case <-time.After(2 * time.Millisecond): // between looks at another process
		case <-p.done:
			text, _ := os.ReadFile(p.log)
			return fmt.Errorf("%s ended while starting:\n%.2000s", p.name, text)
		case <-ctx.Done():
			return fmt.Errorf("%s does not answer: %w", p.name, err)
		}
	}
}

// family finds the processes of the group.
func (p *process) family() error {
	leader := p.cmd.Process.Pid
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return err
	}
	p.pids = nil
	for _, file := range stats {
		fields, err := statFields(file)
		if err != nil {
			continue // ended since
		}
		if group, _ := strconv.Atoi(fields[2]); group == leader {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
			p.pids = append(p.pids, pid)
		}
	}
	if len(p.pids) == 0 {
		return errors.New("no process of " + p.name + " in /proc")
	}
	return nil
}

// stop asks the server to end and waits for it; after ten seconds it is killed.
func (p *process) stop() {
	if p == nil {
		return
	}
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(10 * time.Second):
	}
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) // workers that outlived their leader, too
	<-p.done
}

// statFields are the fields of proc(5)'s stat from the third on: the name before them may contain spaces.
func statFields(file string) ([]string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	return strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:])), nil
}

// tick is the unit of CPU time in /proc, fixed on Linux.
const tick = 10 * time.Millisecond

// cpu is the user and system time the server has used.
func (p *process) cpu() (time.Duration, error) {
	var sum time.Duration
	for _, pid := range p.pids {
		fields, err := statFields(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			return 0, fmt.Errorf("%s has ended: %w", p.name, err)
		}
		user, _ := strconv.Atoi(fields[11])
		system, _ := strconv.Atoi(fields[12])
		sum += time.Duration(user+system) * tick
	}
	return sum, nil
}

// numbers adds up a named number of a file in /proc over the server's processes.
func (p *process) numbers(file, name string) (sum int64) {
	for _, pid := range p.pids {
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
		for line := range strings.Lines(string(text)) {
			if rest, ok := strings.CutPrefix(line, name+":"); ok {
				n, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
				sum += n
			}
		}
	}
	return sum
}

// peak is the highest resident memory since the start or the last resetPeak, in MB.
func (p *process) peak() float64 { return float64(p.numbers("status", "VmHWM")) / 1000 * 1.024 }

// resident is the resident memory now, in MB.
func (p *process) resident() float64 { return float64(p.numbers("status", "VmRSS")) / 1000 * 1.024 }

func (p *process) resetPeak() {
	for _, pid := range p.pids {
		_ = os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0o200) // without it the peak is since the start
	}
}

// written is how many bytes the server has handed to the disk, in MB.
func (p *process) written() float64 { return float64(p.numbers("io", "write_bytes")) / 1e6 }

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}
