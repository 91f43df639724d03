package serve

import (
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"syscall"
	"time"
)

// minProgress is how many bytes a client must send or take within Options.Progress, or the rest of the body: some 270 a second, which
// any line manages. A client that drips on purpose thus holds its connection for one period.
const minProgress = 16 << 10

// sendChunk is how much of a file goes out under one write deadline, unless the client is slow.
const sendChunk = 4 << 20

const copyBuffer = 32 << 10

// gathered is how much of a body net/http keeps for the end of the request; nothing is sent before.
const gathered = 2 << 10

// bufferPool keeps copy buffers.
type bufferPool struct{ pool sync.Pool }

func (p *bufferPool) get() *[]byte {
	if b, ok := p.pool.Get().(*[]byte); ok {
		return b
	}
	b := make([]byte, copyBuffer)
	return &b
}

func (p *bufferPool) put(b *[]byte) { p.pool.Put(b) }

// responseWriter counts what leaves and moves the write deadline with it. It must stay an io.ReaderFrom that hands files
// to the connection, so that blobs leave by sendfile.
type responseWriter struct {
	http.ResponseWriter
	progress time.Duration
	buffers  *bufferPool
	tls      bool
	socket   syscall.RawConn // to cork; nil for none
	body     *bodyReader     // nil when the request has none

	extended *time.Time // when the write deadline was last moved
	begun    time.Time  // what extended points to, unless the connection has its own
	status   int
	sent     int64
	received int64
	aborted  bool

	values [maxValues]string // of headers, each the backing array of its own slice
	used   int
}

// maxValues is how many headers a response has room for before each takes an allocation.
const maxValues = 12

// SetHeader sets a header of the response as http.Header.Set does, without an allocation behind a Front. name must be in canonical form.
func SetHeader(w http.ResponseWriter, name, value string) {
	rw, ok := w.(*responseWriter)
	if !ok || rw.used == maxValues {
		w.Header()[name] = []string{value}
		return
	}
	slot := rw.values[rw.used : rw.used+1 : rw.used+1]
	slot[0] = value
	rw.used++
	rw.Header()[name] = slot
}

// response prepares rw. The deadline starts now: the one of the connection's last request must not end what net/http writes by
// itself, such as "100 Continue".
func (f *Front) response(rw *responseWriter, w http.ResponseWriter, r *http.Request, c *connection, now time.Time) {
	rw.ResponseWriter, rw.progress, rw.buffers, rw.extended = w, f.progress, &f.buffers, &rw.begun
	if c != nil && r.ProtoMajor == 1 {
		rw.extended, rw.socket = &c.extended, c.socket
	}
	rw.extend(now)
}

// control is for what is not done for every request.
func (w *responseWriter) control() *http.ResponseController {
	return http.NewResponseController(w.ResponseWriter)
}

// Unwrap serves http.ResponseController.
func (w *responseWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader implements http.ResponseWriter.
func (w *responseWriter) WriteHeader(status int) {
	if w.status == 0 && status >= 200 {
		w.status = status
	}
	if status >= http.StatusBadRequest {
		w.abandon()
	}
	if status < 200 {
		w.extend(time.Now()) // it is sent at once; others wait for the first bytes, or for the end
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements io.Writer.
func (w *responseWriter) Write(p []byte) (int, error) {
	w.begin()
	if w.sent+int64(len(p)) > gathered {
		w.extend(time.Now())
	}
	n, err := w.ResponseWriter.Write(p)
	w.sent += int64(n)
	return n, err
}

// Flush implements http.Flusher.
func (w *responseWriter) Flush() {
	w.begin()
	w.extend(time.Now())
	_ = w.control().Flush() // a writer that cannot flush sends when it likes
}

// ReadFrom implements io.ReaderFrom. Files, bare or in one io.LimitedReader, go to the connection in chunks, each with its own
// deadline. Other readers may wait for their own source, so the deadline starts at each write.
func (w *responseWriter) ReadFrom(src io.Reader) (int64, error) {
	w.begin()
	w.extend(time.Now())
	limited, ok := src.(*io.LimitedReader)
	if !ok {
		limited = &io.LimitedReader{R: src, N: 1<<63 - 1}
	}
	rf, canSend := w.ResponseWriter.(io.ReaderFrom)
	if _, isFile := limited.R.(*os.File); isFile && canSend {
		return w.sendFile(rf, limited)
	}
	return w.copy(src)
}

func (w *responseWriter) sendFile(rf io.ReaderFrom, src *io.LimitedReader) (total int64, err error) {
	chunk := int64(sendChunk)
	if w.tls {
		chunk = minProgress // TLS cannot go on after a write that was cut short
	} else {
		if w.socket != nil {
			cork(w.socket, 1)
			defer cork(w.socket, 0)
		}
		_ = w.control().Flush() // or net/http reads the first bytes of the file to put them beside the headers
	}
	for src.N > 0 {
		w.extend(time.Now())
		part := &io.LimitedReader{R: src.R, N: min(src.N, chunk)}
		n, err := rf.ReadFrom(part)
		total, src.N, w.sent = total+n, src.N-n, w.sent+n
		if n >= minProgress && errors.Is(err, os.ErrDeadlineExceeded) {
			continue // slow, but it moves
		}
		if err != nil || n == 0 {
			return total, err
		}
	}
	return total, nil
}

// copy flushes after a short read: the source has no more at the moment, and the client should see what there is.
func (w *responseWriter) copy(src io.Reader) (total int64, err error) {
	buf := w.buffers.get()
	defer w.buffers.put(buf)
	for {
		n, rerr := src.Read(*buf)
		if n > 0 {
			m, werr := w.Write((*buf)[:n])
			total += int64(m)
			if werr != nil {
				return total, werr
			}
		}
		if rerr == io.EOF {
			return total, nil
		}
		if rerr != nil {
			return total, rerr
		}
		if n < len(*buf) {
			w.Flush()
		}
	}
}

func (w *responseWriter) begin() {
	if w.status == 0 {
		w.status = http.StatusOK
	}
}

// extend gives the client another period to take what is written. Moving the deadline costs more than most writes, so one that has
// hardly been used stays. Writers without deadlines, in tests, have none to move.
func (w *responseWriter) extend(now time.Time) {
	if now.Sub(*w.extended) < w.progress/16 {
		return
	}
	*w.extended = now
	by := now.Add(w.progress)
	if d, ok := w.ResponseWriter.(interface{ SetWriteDeadline(time.Time) error }); ok {
		_ = d.SetWriteDeadline(by)
	} else {
		_ = w.control().SetWriteDeadline(by)
	}
}

// finish bounds what the server still does for the request: flushing the response and draining an unread body.
func (w *responseWriter) finish(now time.Time) {
	w.extend(now)
	w.abandon()
}

// How much of a refused body is taken so that its client gets to read why.
const (
	lingerTime  = time.Second
	lingerBytes = 8 << 20
)

// linger sends the response and goes on reading for a while, if the handler left a part of the body. On a connection that stays
// net/http does so; one that ends ("Connection: close", which nginx sends unless it is told otherwise) it closes at once, and a
// client that still sends sees a reset instead of the response.
func (w *responseWriter) linger() {
	if w.aborted || w.status == 0 || w.body == nil || w.body.done {
		return
	}
	_ = w.control().Flush()
	_ = w.control().SetReadDeadline(time.Now().Add(lingerTime))
	_, _ = io.CopyN(io.Discard, w.body.ReadCloser, lingerBytes)
}

// abandon bounds net/http's draining of a body that the handler has not read to its end.
func (w *responseWriter) abandon() {
	if w.body != nil && !w.body.done {
		_ = w.control().SetReadDeadline(time.Now().Add(w.progress))
	}
}

// bodyReader moves the read deadline with the bytes that arrive, so that a long upload lives and one that only drips ends. What the
// server itself takes between two reads is not the client's.
type bodyReader struct {
	io.ReadCloser
	w    *responseWriter
	done bool

	waited time.Duration // for the last came bytes
	came   int
}

func (f *Front) body(b io.ReadCloser, w *responseWriter) io.ReadCloser {
	if b == nil || b == http.NoBody {
		return b
	}
	w.body = &bodyReader{ReadCloser: b, w: w}
	return w.body
}

// Read implements io.Reader. At the end the deadline must be lifted: net/http goes on reading in the background to notice a
// client that leaves, and takes an expired deadline for that. After another error it must stay: net/http would wait
// for the rest of the body for ever.
func (b *bodyReader) Read(p []byte) (int, error) {
	if b.done {
		return b.ReadCloser.Read(p)
	}
	began := time.Now()
	_ = b.w.control().SetReadDeadline(began.Add(b.w.progress - b.waited))
	n, err := b.ReadCloser.Read(p)
	b.w.received += int64(n)
	b.waited, b.came = b.waited+time.Since(began), b.came+n
	if b.came >= minProgress {
		b.waited, b.came = 0, 0
	}
	if err != nil {
		b.done = true
		if err == io.EOF {
			_ = b.w.control().SetReadDeadline(time.Time{})
		}
	}
	return n, err
}
