package audit

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/weir-registry/weir/internal/event"
)

// batch is what becomes one row. Its id is made once, so that a row whose commit was in doubt is not written twice.
type batch struct {
	id    int64
	class string
	pages []*page
}

func (b *batch) len() (n int) {
	for _, p := range b.pages {
		n += p.n
	}
	return n
}

// encode makes the payload; ids are those of groups by name, and of addresses.
func (b *batch) encode(groups map[string]int64, addresses map[addressKey]int64) []byte {
	size := 1
	for _, p := range b.pages {
		size += len(p.buf) + binary.MaxVarintLen64*(3+len(p.groups)+len(p.addresses))
	}
	out := append(make([]byte, 0, size), batchVersion)
	for _, p := range b.pages {
		out = binary.AppendUvarint(out, uint64(len(p.groups)))
		for _, name := range p.groups {
			out = binary.AppendVarint(out, groups[name])
		}
		out = binary.AppendUvarint(out, uint64(len(p.addresses)))
		for _, key := range p.addresses {
			out = binary.AppendVarint(out, addresses[key])
		}
		out = append(binary.AppendUvarint(out, uint64(len(p.buf))), p.buf...)
	}
	return out
}

var errBatch = errors.New("a batch of pulls is not readable")

// decode reads the payload of a batch, of any form there was, and brings its records into their order.
func decode(payload []byte) (out []record, err error) {
	switch {
	case len(payload) > 0 && payload[0] == batchVersion:
		out, err = decodePages(payload[1:])
	case len(payload) > 0 && payload[0] == form1:
		out, err = decodeForm1(payload[1:])
	default:
		err = fmt.Errorf("%w: its form is unknown to this version", errBatch)
	}
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(out, func(a, b record) int { return cmp.Compare(a.At, b.At) })
	return out, nil
}

func decodePages(pages []byte) (out []record, err error) {
	for d := (decoder{rest: pages}); len(d.rest) > 0; {
		groups, addresses := d.list(), d.list()
		size := d.size()
		p := pageDecoder{decoder: decoder{rest: d.rest[:size]}, groups: groups, addresses: addresses}
		d.rest = d.rest[size:]
		for len(p.rest) > 0 {
			r := p.record()
			if p.bad {
				return nil, errBatch
			}
			out = append(out, r)
		}
		if d.bad {
			return nil, errBatch
		}
	}
	return out, nil
}

// unreadable stands for a batch that cannot be read, so that it does not stand in the way of all others: somebody may have changed it,
// which its seal shows. events is how many there were, 0 if that is not known.
func unreadable(first, last, events int64) []record {
	return []record{{Request: event.Request{At: first, Kind: event.Gap, Actor: event.Actor{Kind: event.Server}}, until: last, count: events}}
}

// decoder reads numbers and texts. What is bad ends it.
type decoder struct {
	rest []byte
	bad  bool
}

func (d *decoder) number() int64 {
	v, n := binary.Varint(d.rest)
	d.took(n)
	return v
}

func (d *decoder) count() uint64 {
	v, n := binary.Uvarint(d.rest)
	d.took(n)
	return v
}

func (d *decoder) took(n int) {
	if n <= 0 {
		d.bad, d.rest = true, nil
		return
	}
	d.rest = d.rest[n:]
}

// size is a count of bytes that are there.
func (d *decoder) size() int {
	v := d.count()
	if v > uint64(len(d.rest)) {
		d.bad, d.rest = true, nil
		return 0
	}
	return int(v) //nolint:gosec // at most the length of rest
}

func (d *decoder) bytes(n int) []byte {
	if n > len(d.rest) {
		d.bad, d.rest = true, nil
		return nil
	}
	b := d.rest[:n]
	d.rest = d.rest[n:]
	return b
}

func (d *decoder) text() string { return string(d.bytes(d.size())) }

func (d *decoder) list() []int64 {
	n := d.size() // each takes a byte at least
	out := make([]int64, 0, n)
	for range n {
		out = append(out, d.number())
	}
	return out
}

// id is the other way round of page.id.
func (d *decoder) id() string {
	switch n := d.count(); {
	case n == 0:
		return ""
	case n > 1:
		if n-1 > uint64(len(d.rest)) {
			d.bad, d.rest = true, nil
			return ""
		}
		return string(d.bytes(int(n - 1))) //nolint:gosec // at most the length of rest
	}
	b := d.bytes(idPacked)
	if d.bad {
		return ""
	}
	digits := make([]byte, 0, idLength)
	for ; len(b) >= 5; b = b[5:] {
		v := uint64(b[0])<<32 | uint64(b[1])<<24 | uint64(b[2])<<16 | uint64(b[3])<<8 | uint64(b[4])
		for shift := 35; shift >= 0; shift -= 5 {
			digits = append(digits, base32[v>>shift&31])
		}
	}
	last := uint64(b[0])<<8 | uint64(b[1])
	return string(append(digits, base32[last>>5&31], base32[last&31]))
}

// pageDecoder reads the records of a page.
type pageDecoder struct {
	decoder
	groups, addresses []int64
	words             []string
	now               fields
	at                int64
}

func (d *pageDecoder) record() record {
	mask := d.count()
	d.at += d.number()
	var r record
	r.Actor.RequestID, r.Actor.DecisionID = d.id(), d.id()
	for i := range d.now.numbers {
		if mask&(1<<i) != 0 {
			d.now.numbers[i] = d.number()
		}
	}
	for i := range d.now.words {
		if mask&(1<<(numbers+i)) != 0 {
			d.now.words[i] = d.word()
		}
	}
	if mask&hasDecision != 0 {
		r.json = []byte(d.text())
	}
	n, w := &d.now.numbers, &d.now.words
	r.At, r.Bytes, r.Status, r.until, r.count = d.at, n[numberBytes], int(n[numberStatus]), n[numberUntil], max(1, n[numberCount])
	r.Actor.ID, r.Actor.TokenID, r.Actor.Kind = n[numberAccount], n[numberToken], w[wordActorKind]
	r.group, r.address = d.at1(d.groups, n[numberGroup]), d.at1(d.addresses, n[numberAddress])
	r.Path, r.Reference, r.Kind, r.Method = w[wordPath], w[wordReference], w[wordKind], w[wordMethod]
	r.Cache, r.Operation, r.Member, r.Reason, r.Code = w[wordCache], w[wordOperation], w[wordMember], w[wordReason], w[wordCode]
	return r
}

// at1 is what stands at a place, from 1; 0 for none.
func (d *pageDecoder) at1(list []int64, place int64) int64 {
	if place < 0 || place > int64(len(list)) {
		d.bad, d.rest = true, nil
		return 0
	}
	if place == 0 {
		return 0
	}
	return list[place-1]
}

func (d *pageDecoder) word() string {
	n := d.count()
	switch {
	case d.bad:
		return ""
	case n == 0:
		d.words = append(d.words, d.text())
		return d.words[len(d.words)-1]
	case n > uint64(len(d.words)):
		d.bad, d.rest = true, nil
		return ""
	}
	return d.words[n-1]
}
