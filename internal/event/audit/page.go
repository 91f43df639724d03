package audit

import (
	"encoding/binary"
	"strings"
	"time"

	"github.com/weir-registry/weir/internal/event"
	"github.com/weir-registry/weir/internal/store/meta"
)

// page is a part of a batch in the making. Requests are packed as they come in, so that nothing of them has to be kept: a page of
// thousands is one piece of memory without a pointer. The zero page is empty. The ids of groups and addresses are not known yet, so
// records have their places in lists that become part of the batch later.
type page struct {
	n           int
	first, last int64 // times
	buf         []byte
	before      fields // of the record before
	at          int64
	words       map[string]uint64

	groups       []string // their names
	placeOfGroup map[string]int64
	addresses    []addressKey
	placeOf      map[addressKey]int64 // in addresses, from 1
	accounts     map[int64]struct{}
	calendar     calendar
}

// record is a request as a batch holds it.
type record struct {
	event.Request
	group   int64 // id
	address int64 // id; Actor.Address is not stored
	count   int64 // 1, or of a gap or count the number of requests
	until   int64 // of a gap or count; At is since when
	json    []byte
}

// fields are what often is as in the record before, what changes most first. The place of each is its bit in the mask of a record.
type fields struct {
	numbers [numbers]int64
	words   [words]string
}

const (
	numberBytes = iota
	numberAddress
	numberAccount
	numberToken
	numberGroup
	numberStatus
	numberUntil
	numberCount
	numbers
)

const (
	wordPath = iota
	wordReference
	wordKind
	wordMethod
	wordCache
	wordOperation
	wordMember
	wordActorKind
	wordReason
	wordCode
	words
)

const hasDecision = 1 << (numbers + words)

// The payload of a batch is the byte 2 and then pages, each:
//
//	how many groups, and the id of each; how many addresses, and the id of each; the length of the records; the records
//
// and each record:
//
//	the mask, time (as difference from the record before), request id, decision id, and what the mask says: numbers, words, decision
//
// A bit of the mask stands for a field that is not as in the record before, the last for a decision as JSON. Lengths and the mask are
// unsigned varints, numbers signed ones; groups and addresses in records are places in the lists, from 1. A text is its length and its
// bytes. A word is 0 and a text when it is new in the page, else its number, from 1 in the order of the texts. An id is 0 if there is
// none; 1 and 17 bytes if it is 26 digits of base32, as ours are; else its length, 1 more, and its bytes. Records are in no order.
const batchVersion = 2

// add packs one more request. It keeps nothing of r but words that are new in the page.
func (p *page) add(r *record) {
	if p.n == 0 {
		p.first, p.last = r.At, r.At
	}
	p.n++
	p.first, p.last = min(p.first, r.At), max(p.last, r.At, r.until)
	now := fields{
		numbers: [numbers]int64{
			numberBytes: r.Bytes, numberAddress: p.address(r), numberAccount: r.Actor.ID, numberToken: r.Actor.TokenID, numberGroup: p.group(r.Path),
			numberStatus: int64(r.Status), numberUntil: r.until, numberCount: r.count,
		},
		words: [words]string{
			wordPath: r.Path, wordReference: r.Reference, wordKind: r.Kind, wordMethod: r.Method, wordCache: r.Cache, wordOperation: r.Operation,
			wordMember: r.Member, wordActorKind: r.Actor.Kind, wordReason: r.Reason, wordCode: r.Code,
		},
	}
	if id := r.Actor.ID; id != 0 && id != p.before.numbers[numberAccount] {
		if p.accounts == nil {
			p.accounts = map[int64]struct{}{}
		}
		p.accounts[id] = struct{}{}
	}
	mask := now.differs(&p.before)
	if len(r.json) > 0 {
		mask |= hasDecision
	}
	p.buf = binary.AppendUvarint(p.buf, mask)
	p.number(r.At - p.at)
	p.id(r.Actor.RequestID)
	p.id(r.Actor.DecisionID)
	for i, n := range now.numbers {
		if mask&(1<<i) != 0 {
			p.number(n)
		}
	}
	for i, s := range now.words {
		if mask&(1<<(numbers+i)) != 0 {
			p.word(s)
		}
	}
	if len(r.json) > 0 {
		p.text(string(r.json))
	}
	p.before, p.at = now, r.At
}

// differs is the mask of a record.
func (f *fields) differs(before *fields) (mask uint64) {
	for i, n := range f.numbers {
		if n != before.numbers[i] {
			mask |= 1 << i
		}
	}
	for i, s := range f.words {
		if s != before.words[i] {
			mask |= 1 << (numbers + i)
		}
	}
	return mask
}

func (p *page) number(v int64) { p.buf = binary.AppendVarint(p.buf, v) }

func (p *page) text(s string) {
	p.buf = append(binary.AppendUvarint(p.buf, uint64(len(s))), s...)
}

func (p *page) word(s string) {
	n, known := p.words[s]
	if !known {
		if p.words == nil {
			p.words = map[string]uint64{}
		}
		p.words[strings.Clone(s)] = uint64(len(p.words) + 1)
		p.buf = append(p.buf, 0)
		p.text(s)
		return
	}
	p.buf = binary.AppendUvarint(p.buf, n)
}

// group is the place of a path's group, 0 for none.
func (p *page) group(path string) int64 {
	name, _, _ := strings.Cut(path, "/")
	if name == "" {
		return 0
	}
	if last := p.before.numbers[numberGroup]; last > 0 && p.groups[last-1] == name {
		return last
	}
	place, known := p.placeOfGroup[name]
	if !known {
		if p.placeOfGroup == nil {
			p.placeOfGroup = map[string]int64{}
		}
		name = strings.Clone(name)
		p.groups = append(p.groups, name)
		place = int64(len(p.groups))
		p.placeOfGroup[name] = place
	}
	return place
}

// address is the place of where a request came from, 0 for none.
func (p *page) address(r *record) int64 {
	if r.Actor.Address == "" {
		return 0
	}
	key := addressKey{r.Actor.ID, p.calendar.month(r.At), r.Actor.Address}
	if last := p.before.numbers[numberAddress]; last > 0 && p.addresses[last-1] == key {
		return last
	}
	place, known := p.placeOf[key]
	if !known {
		if p.placeOf == nil {
			p.placeOf = map[addressKey]int64{}
		}
		key.address = strings.Clone(key.address)
		p.addresses = append(p.addresses, key)
		place = int64(len(p.addresses))
		p.placeOf[key] = place
	}
	return place
}

// empty makes room for other requests. A large page keeps its memory only if it was used.
func (p *page) empty() {
	if cap(p.buf) > largePage && len(p.buf) < cap(p.buf)/4 {
		*p = page{}
		return
	}
	clear(p.words)
	clear(p.placeOfGroup)
	clear(p.placeOf)
	clear(p.accounts)
	*p = page{
		buf: p.buf[:0], words: p.words, groups: p.groups[:0], placeOfGroup: p.placeOfGroup, addresses: p.addresses[:0], placeOf: p.placeOf,
		accounts: p.accounts, calendar: p.calendar,
	}
}

// calendar remembers the month that was asked for last.
type calendar struct{ number, from, until int64 }

// month is the month of a time in microseconds, as the tables of addresses count them.
func (c *calendar) month(at int64) int64 {
	if at < c.from || at >= c.until {
		t := time.UnixMicro(at).UTC()
		first := time.Date(t.Year(), t.Month(), 1, 0, 0, 0, 0, time.UTC)
		*c = calendar{meta.Month(t), first.UnixMicro(), first.AddDate(0, 1, 0).UnixMicro()}
	}
	return c.number
}

// Ids that we make are idLength digits of base32, which need no more than idPacked bytes.
const (
	idLength = 26
	idPacked = 17
	base32   = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
)

// pack is an id in 17 bytes; false when it is no such id. Digits are random, so it must not branch by them.
func pack(s string) (out [idPacked]byte, ok bool) {
	if len(s) != idLength {
		return out, false
	}
	var wrong byte
	at, rest := 0, uint64(0)
	for i := range idLength {
		c := s[i]
		v := (c&31 - 1 + 9*(1-c>>6)) & 31 // the letters are 64 and their place from 1, the digits 48 and theirs
		wrong |= base32[v] ^ c
		rest = rest<<5 | uint64(v)
		if i%8 == 7 {
			out[at], out[at+1], out[at+2], out[at+3], out[at+4] = byte(rest>>32), byte(rest>>24), byte(rest>>16), byte(rest>>8), byte(rest) //nolint:gosec // byte by byte
			at, rest = at+5, 0
		}
	}
	out[at], out[at+1] = byte(rest>>8), byte(rest) //nolint:gosec // the last two digits
	return out, wrong == 0
}

func (p *page) id(s string) {
	if b, ok := pack(s); ok {
		p.buf = append(append(p.buf, 1), b[:]...)
		return
	}
	if s == "" {
		p.buf = append(p.buf, 0)
		return
	}
	p.buf = append(binary.AppendUvarint(p.buf, uint64(len(s))+1), s...)
}
