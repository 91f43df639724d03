package audit

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
)

// The payload of a batch as earlier builds made it: the byte 1 and then, as a gzip stream, for each record:
//
//	At, group, account, token, address id (as differences from the record before), until, status, bytes, count (as they are),
//	kind, kind of actor, operation, method, path, reference, cache, member, reason, code (words),
//	request id, decision id, decision as JSON (texts)
//
// Numbers are signed varints; a count of 0 means 1. Texts and words are as in a page, and records in no order as well. The stream says
// in its header that it was compressed neither best nor fastest: the very first builds, which had the numbers in another order, said
// fastest, and must not be misread.
const form1 = 1

const gzipEffort = 8 // where the header has it, RFC 1952 section 2.3.1: 0, or 2 for best, or 4 for fastest

// maxForm1 bounds what comes out of the stream: far more than 4,096 records, which a batch had at most.
const maxForm1 = 64 << 20

func decodeForm1(stream []byte) (out []record, err error) {
	plain, err := inflate(stream)
	if err != nil || stream[gzipEffort] != 0 {
		return nil, errors.Join(errBatch, err)
	}
	d := pageDecoder{decoder: decoder{rest: plain}}
	for before := (record{}); len(d.rest) > 0; {
		r := d.form1(before)
		if d.bad {
			return nil, errBatch
		}
		out, before = append(out, r), r
	}
	return out, nil
}

func inflate(stream []byte) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(stream))
	if err != nil {
		return nil, err
	}
	plain, err := io.ReadAll(io.LimitReader(z, maxForm1+1))
	if len(plain) > maxForm1 {
		err = errors.New("it is too large")
	}
	return plain, err
}

func (d *pageDecoder) form1(before record) (r record) {
	r.At = before.At + d.number()
	r.group = before.group + d.number()
	r.Actor.ID = before.Actor.ID + d.number()
	r.Actor.TokenID = before.Actor.TokenID + d.number()
	r.address = before.address + d.number()
	r.until, r.Status, r.Bytes, r.count = d.number(), int(d.number()), d.number(), max(1, d.number())
	for _, to := range [...]*string{
		&r.Kind, &r.Actor.Kind, &r.Operation, &r.Method, &r.Path, &r.Reference, &r.Cache, &r.Member, &r.Reason, &r.Code,
	} {
		*to = d.word()
	}
	r.Actor.RequestID, r.Actor.DecisionID, r.json = d.text(), d.text(), []byte(d.text())
	return r
}
