package audit

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"

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
//	At (signed, minus that of the record before), until, status, bytes, count, group, account, token, address id (all varints),
//	kind, kind of actor, operation, method, path, reference, cache, member, reason, code (words),
//	request id, decision id, decision as JSON (texts)
//
// A text is its length and its bytes. A word is 0 and a text when it is new, else its number, from 1 in the order of the texts.
const batchVersion = 1

// maxPayload bounds a batch that is read, compressed or not: far more than the flusher makes.
const maxPayload = 256 << 20

var errBatch = errors.New("a batch of pulls is not readable")

type encoder struct {
	buf   []byte
	words map[string]uint64
}

func (e *encoder) number(v int64) { e.buf = binary.AppendVarint(e.buf, v) }

func (e *encoder) text(s string) {
	e.buf = append(binary.AppendUvarint(e.buf, uint64(len(s))), s...)
}

func (e *encoder) word(s string) {
	if n, ok := e.words[s]; ok {
		e.buf = binary.AppendUvarint(e.buf, n)
		return
	}
	e.words[s] = uint64(len(e.words) + 1)
	e.buf = append(e.buf, 0)
	e.text(s)
}

// encode writes the payload of a batch.
func encode(to *bytes.Buffer, records []record) error {
	e := encoder{words: map[string]uint64{}}
	before := int64(0)
	for i := range records {
		r := &records[i]
		if r.json == nil && r.Decision != nil && !r.Hit() {
			var err error
			if r.json, err = json.Marshal(r.Decision); err != nil {
				return fmt.Errorf("encode a decision: %w", err)
			}
		}
		for _, n := range [...]int64{r.At - before, r.until, int64(r.Status), r.Bytes, r.count, r.group, r.Actor.ID, r.Actor.TokenID, r.address} {
			e.number(n)
		}
		before = r.At
		for _, s := range [...]string{r.Kind, r.Actor.Kind, r.Operation, r.Method, r.Path, r.Reference, r.Cache, r.Member, r.Reason, r.Code} {
			e.word(s)
		}
		e.text(r.Actor.RequestID)
		e.text(r.Actor.DecisionID)
		e.text(string(r.json))
	}
	to.WriteByte(batchVersion)
	z, err := gzip.NewWriterLevel(to, gzip.BestSpeed)
	if err != nil {
		return err
	}
	if _, err := z.Write(e.buf); err != nil {
		return err
	}
	return z.Close()
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

// decode reads the payload of a batch.
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
	before := int64(0)
	for len(d.rest) > 0 {
		var r record
		var status int64
		for _, to := range [...]*int64{&r.At, &r.until, &status, &r.Bytes, &r.count, &r.group, &r.Actor.ID, &r.Actor.TokenID, &r.address} {
			*to = d.number()
		}
		r.Status = int(status)
		r.At += before
		before = r.At
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
	return out, nil
}
