package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// request is one that is sent over and over again, ready made, and what its answer must be.
type request struct {
	what string
	head []byte
	size int64  // of the body, -1 = any
	sum  uint32 // of the body; 0 = any
	body bool   // the answer has one
}

func newRequest(method, url, authorization string, want content) request {
	address, path, _ := strings.Cut(strings.TrimPrefix(url, "http://"), "/")
	head := fmt.Sprintf("%s /%s HTTP/1.1\r\nHost: %s\r\nUser-Agent: weir-bench\r\nAccept: %s\r\n", method, path, address, acceptManifest)
	if authorization != "" {
		head += "Authorization: " + authorization + "\r\n"
	}
	return request{method + " " + url, []byte(head + "\r\n"), int64(len(want.bytes)), want.sum, method != http.MethodHead}
}

// load sends requests at a server over a number of connections, each connection the next request as soon as it has its answer.
type load struct {
	connections int
	duration    time.Duration
	requests    []request
}

// sample is what one measurement gave. What does not apply is 0.
type sample struct {
	count   int
	rate    float64 // a second
	cpu     float64 // of the server, milliseconds for each request
	p50     float64 // milliseconds
	p99     float64
	mbps    float64 // MB a second
	cpuGB   float64 // of the server, seconds for each GB
	seconds float64
	rss     float64 // peak, MB
	written float64 // MB written / MB pushed or pulled
	asked   float64 // upstream requests
	fetched float64 // upstream bytes / bytes of one image
}

// run measures. An answer that is not right is an error: figures of wrong answers are worth nothing.
func (l load) run(ctx context.Context, p *process) (sample, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var ready, done sync.WaitGroup
	start := make(chan time.Time)
	results := make([]worker, l.connections)
	for i := range results {
		ready.Add(1)
		done.Go(func() {
			w := &results[i]
			c, err := dial(ctx, p.url)
			w.err = err
			if err == nil {
				defer c.Close()
				w.err = c.ask(l.requests[0])
			}
			ready.Done()
			if until := <-start; w.err == nil {
				w.run(c, l.requests, i*len(l.requests)/l.connections, until)
			}
		})
	}
	ready.Wait()
	before, err := p.cpu()
	began := time.Now()
	for range results {
		start <- began.Add(l.duration)
	}
	done.Wait()
	took := time.Since(began)
	after, errAfter := p.cpu()
	if err := errors.Join(err, errAfter); err != nil {
		return sample{}, err
	}
	return summary(results, took, after-before)
}

// worker is what one connection did.
type worker struct {
	latencies []time.Duration
	bytes     int64
	err       error
}

func (w *worker) run(c *connection, requests []request, first int, until time.Time) {
	for i := first; ; i++ {
		now := time.Now()
		if now.After(until) {
			return
		}
		r := requests[i%len(requests)]
		if w.err = c.ask(r); w.err != nil {
			return
		}
		w.latencies = append(w.latencies, time.Since(now))
		w.bytes += c.received
	}
}

func summary(results []worker, took, cpu time.Duration) (sample, error) {
	var all []time.Duration
	var size int64
	for _, w := range results {
		if w.err != nil {
			return sample{}, w.err
		}
		all = append(all, w.latencies...)
		size += w.bytes
	}
	if len(all) == 0 {
		return sample{}, errors.New("no request ended in time")
	}
	slices.Sort(all)
	at := func(share float64) float64 { return milliseconds(all[int(share*float64(len(all)-1))]) }
	s := sample{
		count: len(all), rate: float64(len(all)) / took.Seconds(), cpu: milliseconds(cpu) / float64(len(all)),
		p50: at(0.5), p99: at(0.99), mbps: float64(size) / 1e6 / took.Seconds(), seconds: took.Seconds(),
	}
	if size > 0 {
		s.cpuGB = cpu.Seconds() / (float64(size) / 1e9)
	}
	return s, nil
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// once sends each request once over a few connections: whatever is done only the first time is done then.
func once(ctx context.Context, p *process, requests []request) error {
	return parallel(ctx, 8, len(requests), func() (func(context.Context, int) error, func(), error) {
		c, err := dial(ctx, p.url)
		if err != nil {
			return nil, nil, err
		}
		return func(_ context.Context, i int) error { return c.ask(requests[i]) }, func() { c.Close() }, nil
	})
}

// parallel does n things on some workers, each of which begins with its own state, and stops at the first error.
func parallel(ctx context.Context, workers, n int, begin func() (work func(context.Context, int) error, end func(), err error)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	next := make(chan int)
	var wait sync.WaitGroup
	for range min(workers, n) {
		wait.Go(func() {
			work, end, err := begin()
			if err != nil {
				cancel(err)
				return
			}
			defer end()
			for i := range next {
				if err := work(ctx, i); err != nil {
					cancel(err)
					return
				}
			}
		})
	}
	for i := range n {
		select {
		case next <- i:
			continue
		case <-ctx.Done():
		}
		break
	}
	close(next)
	wait.Wait()
	return context.Cause(ctx)
}

// connection is an HTTP/1.1 client that does no more than measuring needs: client and server share the machine.
type connection struct {
	net.Conn
	reader   *bufio.Reader
	buffer   []byte
	received int64 // bytes of the last body
}

func dial(ctx context.Context, url string) (*connection, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		return nil, err
	}
	return &connection{Conn: c, reader: bufio.NewReaderSize(c, 16<<10), buffer: make([]byte, 256<<10)}, nil
}

// answerWithin bounds the wait for an answer.
const answerWithin = 30 * time.Second

// ask sends a request and checks its answer.
func (c *connection) ask(r request) error {
	_ = c.SetDeadline(time.Now().Add(answerWithin))
	if _, err := c.Write(r.head); err != nil {
		return fmt.Errorf("%s: %w", r.what, err)
	}
	status, length, err := c.header()
	if err != nil {
		return fmt.Errorf("%s: %w", r.what, err)
	}
	if status != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(c.reader, min(length, 2000)))
		return fmt.Errorf("%s: status %d %s", r.what, status, text)
	}
	if !r.body {
		if length != r.size {
			return fmt.Errorf("%s: %d bytes announced, want %d", r.what, length, r.size)
		}
		return nil
	}
	body := io.LimitReader(c.reader, length)
	if length < 0 {
		body = httputil.NewChunkedReader(c.reader)
	}
	sum, err := c.drain(body, r.sum != 0)
	if length < 0 && err == nil {
		_, err = c.reader.ReadSlice('\n') // the end of the trailers, of which there are none
	}
	if err != nil || r.size >= 0 && c.received != r.size || sum != r.sum {
		return fmt.Errorf("%s: %d bytes of %d, or wrong ones, %w", r.what, c.received, r.size, err)
	}
	return nil
}

func (c *connection) drain(body io.Reader, check bool) (sum uint32, err error) {
	c.received = 0
	for {
		n, err := body.Read(c.buffer)
		c.received += int64(n)
		if check {
			sum = crc32.Update(sum, castagnoli, c.buffer[:n])
		}
		if errors.Is(err, io.EOF) {
			return sum, nil
		}
		if err != nil {
			return sum, err
		}
	}
}

var contentLength = []byte("content-length:")

// header reads status and headers; the length is -1 when the body comes in chunks.
func (c *connection) header() (status int, length int64, err error) {
	line, err := c.reader.ReadSlice('\n')
	if err != nil {
		return 0, 0, err
	}
	if len(line) < 12 {
		return 0, 0, fmt.Errorf("not HTTP: %q", line)
	}
	status, err = strconv.Atoi(string(line[9:12]))
	for length = -1; err == nil; {
		if line, err = c.reader.ReadSlice('\n'); len(line) <= 2 {
			break
		}
		if len(line) > len(contentLength) && bytes.EqualFold(line[:len(contentLength)], contentLength) {
			length, err = strconv.ParseInt(string(bytes.TrimSpace(line[len(contentLength):])), 10, 64)
		}
	}
	return status, length, err
}
