package audit

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/weir-registry/weir/internal/event"
)

// record is a request as a batch holds it.
type record struct {
	event.Request
	group   int64 // id
	address int64 // id; Actor.Address is not stored
	count   int64 // 1, or of a gap or count the number of requests
	until   int64 // of a gap or count; At is since when
	json    []byte
}

// The payload of a batch is the byte 1 and then, as a gzip stream, for each record:
//
//	At, group, account, token, address id (as differences from the record before), until, status, bytes, count (as they are),
//	kind, kind of actor, operation, method, path, reference, cache, member, reason, code (words),
//	request id, decision id, decision as JSON (texts)
//
// Numbers are signed varints; a count of 0 means 1. A text is its length and its bytes. A word is 0 and a text when it is new, else its
// number, from 1 in the order of the texts. Records are in no order.
const batchVersion = 1

// maxPayload bounds a batch that is read, compressed or not: far more than the flusher makes.
const maxPayload = 256 << 20

var errBatch = errors.New("a batch of pulls is not readable")

// encoder makes payloads. It keeps its memory.
type encoder struct {
	buf   []byte
	words map[string]uint64
	last  [wordFields]struct { // what each field had in the record before
		word   string
		number uint64
	}
	zip *gzip.Writer
}

const wordFields = 10

func (e *encoder) number(v int64) { e.buf = binary.AppendVarint(e.buf, v) }

func (e *encoder) text(s string) {
	e.buf = append(binary.AppendUvarint(e.buf, uint64(len(s))), s...)
}

func (e *encoder) word(field int, s string) {
	last := &e.last[field]
	if s == last.word && last.number != 0 {
		e.buf = binary.AppendUvarint(e.buf, last.number)
		return
	}
	n, known := e.words[s]
	if !known {
		n = uint64(len(e.words) + 1)
		e.words[s] = n
		e.buf = append(e.buf, 0)
		e.text(s)
	} else {
		e.buf = binary.AppendUvarint(e.buf, n)
	}
	last.word, last.number = s, n
}

// encode makes the payload of a batch.
func (e *encoder) encode(b *batch) ([]byte, error) {
	e.buf, e.words = e.buf[:0], map[string]uint64{}
	clear(e.last[:])
	var before record
	for r := range b.all {
		if r.json == nil && r.Decision != nil && !r.Hit() {
			var err error
			if r.json, err = json.Marshal(r.Decision); err != nil {
				return nil, fmt.Errorf("encode a decision: %w", err)
			}
		}
		for _, n := range [...]int64{
			r.At - before.At, r.group - before.group, r.Actor.ID - before.Actor.ID, r.Actor.TokenID - before.Actor.TokenID, r.address - before.address,
			r.until, int64(r.Status), r.Bytes, r.count,
		} {
			e.number(n)
		}
		before.At, before.group, before.Actor.ID, before.Actor.TokenID, before.address = r.At, r.group, r.Actor.ID, r.Actor.TokenID, r.address
		for i, s := range [wordFields]string{r.Kind, r.Actor.Kind, r.Operation, r.Method, r.Path, r.Reference, r.Cache, r.Member, r.Reason, r.Code} {
			e.word(i, s)
		}
		e.text(r.Actor.RequestID)
		e.text(r.Actor.DecisionID)
		e.text(string(r.json))
	}
	return e.compress()
}

func (e *encoder) compress() ([]byte, error) {
	var out bytes.Buffer
	out.WriteByte(batchVersion)
	if e.zip == nil {
		// What repeats is in the words already: what is left to gain is in the bytes themselves.
		z, err := gzip.NewWriterLevel(&out, gzip.HuffmanOnly)
		if err != nil {
			return nil, err
		}
		e.zip = z
	} else {
		e.zip.Reset(&out)
	}
	if _, err := e.zip.Write(e.buf); err != nil {
		return nil, err
	}
	err := e.zip.Close()
	return out.Bytes(), err
}

type decoder struct {
	rest  []byte
	words []string
	bad   bool
}

func (d *decoder) number() int64 {
	v, n := binary.Varint(d.rest)
	return d.took(v, n)
}

func (d *decoder) took(v int64, n int) int64 {
	if n <= 0 {
		d.bad, d.rest = true, nil
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

func (d *decoder) size() int {
	v, n := binary.Uvarint(d.rest)
	if v > uint64(len(d.rest)) {
		n = 0
	}
	return int(d.took(int64(v), n)) //nolint:gosec // at most the length of rest
}

func (d *decoder) text() string {
	n := d.size()
	if n > len(d.rest) {
		d.bad, d.rest = true, nil
		return ""
	}
	s := string(d.rest[:n])
	d.rest = d.rest[n:]
	return s
}

func (d *decoder) word() string {
	v, n := binary.Uvarint(d.rest)
	d.took(0, n)
	switch {
	case v == 0 && !d.bad:
		d.words = append(d.words, d.text())
		return d.words[len(d.words)-1]
	case v > uint64(len(d.words)):
		d.bad, d.rest = true, nil
	}
	if d.bad {
		return ""
	}
	return d.words[v-1]
}

// decode reads the payload of a batch, and brings its records into their order.
func decode(payload []byte) ([]record, error) {
	if len(payload) == 0 || payload[0] != batchVersion {
		return nil, fmt.Errorf("%w: its form is unknown to this version", errBatch)
	}
	z, err := gzip.NewReader(bytes.NewReader(payload[1:]))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errBatch, err)
	}
	plain, err := io.ReadAll(io.LimitReader(z, maxPayload+1))
	if err != nil || len(plain) > maxPayload {
		return nil, errors.Join(errBatch, err)
	}
	d := decoder{rest: plain}
	var out []record
	var before record
	for len(d.rest) > 0 {
		var r record
		for _, n := range [...]struct{ to, before *int64 }{
			{&r.At, &before.At},
			{&r.group, &before.group},
			{&r.Actor.ID, &before.Actor.ID},
			{&r.Actor.TokenID, &before.Actor.TokenID},
			{&r.address, &before.address},
		} {
			*n.before += d.number()
			*n.to = *n.before
		}
		r.until = d.number()
		r.Status, r.Bytes, r.count = int(d.number()), d.number(), max(1, d.number())
		for _, to := range [...]*string{
			&r.Kind, &r.Actor.Kind, &r.Operation, &r.Method, &r.Path, &r.Reference, &r.Cache, &r.Member, &r.Reason, &r.Code,
		} {
			*to = d.word()
		}
		r.Actor.RequestID, r.Actor.DecisionID, r.json = d.text(), d.text(), []byte(d.text())
		if d.bad {
			return nil, errBatch
		}
		out = append(out, r)
	}
	slices.SortStableFunc(out, func(a, b record) int { return cmp.Compare(a.At, b.At) })
	return out, nil
}
