package audit

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/weir-registry/weir/internal/store/meta/query"
)

// ProofLine is one line of a sealed export, which shows without a server that the trail is as it was sealed: first the keys, then each
// seal with its rows after it, chain by chain, and at last the end. Rows are as they are stored: with ids instead of names and
// addresses, which are no part of what is sealed. Bytes are base64.
type ProofLine struct {
	Key   *Key       `json:"key,omitempty"`
	Seal  *ProofSeal `json:"seal,omitempty"`
	Event *ProofRow  `json:"event,omitempty"`
	Batch *ProofPull `json:"batch,omitempty"`
	End   *ProofEnd  `json:"end,omitempty"`
	Error string     `json:"error,omitempty"` // it could not go on
}

// ProofSeal is a row of seals or pull_seals.
type ProofSeal struct {
	ID        int64  `json:"id,string"`
	Replica   int64  `json:"replica"`
	Number    int64  `json:"number"`
	Day       string `json:"day"`
	Events    int64  `json:"events"`
	FirstID   int64  `json:"first_id,string"`
	LastID    int64  `json:"last_id,string"`
	LastAt    int64  `json:"last_at"`
	Leaves    []byte `json:"leaves"`
	LeavesSum []byte `json:"leaves_sum"`
	Previous  []byte `json:"previous"`
	Sum       []byte `json:"sum"`
	KeyID     int64  `json:"key_id,string"`
	Signature []byte `json:"signature"`
	SealedAt  int64  `json:"sealed_at"`
	DroppedAt int64  `json:"dropped_at,omitempty"`
	Class     string `json:"class"`
}

// ProofRow is a row of events.
type ProofRow struct {
	ID         int64  `json:"id,string"`
	GroupID    int64  `json:"group_id,string"`
	Kind       string `json:"kind"`
	ActorID    int64  `json:"actor_id,string"`
	Subject    string `json:"subject"`
	Detail     string `json:"detail"` // as it was written, to the byte
	RequestID  string `json:"request_id"`
	At         int64  `json:"at"`
	ActorKind  string `json:"actor_kind"`
	TokenID    int64  `json:"token_id,string"`
	AddressID  int64  `json:"address_id,string"`
	DecisionID string `json:"decision_id"`
	SealID     int64  `json:"-"`
	Unsent     int64  `json:"-"`
}

// ProofPull is a row of pull_batches.
type ProofPull struct {
	ID      int64  `json:"id,string"`
	Replica int64  `json:"replica"`
	FirstAt int64  `json:"first_at"`
	LastAt  int64  `json:"last_at"`
	Events  int64  `json:"events"`
	Payload []byte `json:"payload"`
	SealID  int64  `json:"-"`
	Unsent  int64  `json:"-"`
	Class   string `json:"class"`
}

// ProofEnd says that the export is whole.
type ProofEnd struct {
	Seals int64 `json:"seals"`
}

// Prove writes a sealed export: the seals made from a time on and before another, with their rows. A zero time is no bound. Each chain
// has no hole in it, so one that the clock was set back for may have some seals of another time.
func (k *Keeper) Prove(ctx context.Context, from, to time.Time, write func(ProofLine) error) error {
	keys, err := k.db.Read().AuditKeys(ctx)
	if err != nil {
		return fmt.Errorf("export seals: %w", err)
	}
	for i := range keys {
		key := publicKey(&keys[i])
		if err := write(ProofLine{Key: &key}); err != nil {
			return err
		}
	}
	p := prover{Keeper: k, from: from, to: to, write: write}
	for _, stream := range []string{Changes, Pulls} {
		if err := p.stream(ctx, stream); err != nil {
			return fmt.Errorf("export seals of %s: %w", stream, err)
		}
	}
	return write(ProofLine{End: &ProofEnd{p.seals}})
}

type prover struct {
	*Keeper
	from, to time.Time
	write    func(ProofLine) error
	seals    int64
}

func (p *prover) stream(ctx context.Context, stream string) error {
	begun, ended := false, false // the chain that is read
	for at := (query.NextSealsParams{N: 1}); ; {
		var page []sealed
		var lines []ProofLine
		err := p.db.Snapshot(ctx, func(q *query.Queries) (err error) {
			if page, err = seals(ctx, q, stream, at); err != nil || len(page) == 0 {
				return err
			}
			s := &page[0]
			if s.Replica != at.Replica {
				begun, ended = false, false
			}
			made := time.UnixMicro(s.SealedAt)
			begun = begun || p.from.IsZero() || !made.Before(p.from)
			ended = ended || begun && !p.to.IsZero() && !made.Before(p.to)
			if lines = nil; begun && !ended {
				lines, err = proofLines(ctx, q, stream, s)
			}
			return err
		})
		if err != nil || len(page) == 0 {
			return err
		}
		at.Replica, at.Number = page[0].Replica, page[0].Number
		if len(lines) > 0 {
			p.seals++
		}
		for _, line := range lines {
			if err := p.write(line); err != nil {
				return err
			}
		}
	}
}

func proofLines(ctx context.Context, q *query.Queries, stream string, s *sealed) ([]ProofLine, error) {
	seal := ProofSeal(*s)
	out := []ProofLine{{Seal: &seal}}
	if stream == Changes {
		rows, err := q.SealedEvents(ctx, query.SealedEventsParams{First: s.FirstID, Last: s.LastID, SealID: s.ID})
		for i := range rows {
			row := ProofRow(rows[i])
			out = append(out, ProofLine{Event: &row})
		}
		return out, err
	}
	rows, err := q.SealedPullBatches(ctx, query.SealedPullBatchesParams{First: s.FirstID, Last: s.LastID, SealID: s.ID})
	for i := range rows {
		row := ProofPull(rows[i])
		out = append(out, ProofLine{Batch: &row})
	}
	return out, err
}

// Check says what a sealed export is checked against, and who is told.
type Check struct {
	// Keys are the only ones that may have signed, Ed25519; none: those of the export itself, which whoever made it may have made, too.
	Keys [][]byte
	// Sums are those of seals that must be there: ends of chains that were noted before.
	Sums [][]byte
	// Report is called for each seal, Entry, if not nil, for each event that a seal without a problem covers.
	Report func(Finding)
	Entry  func(Entry) error
}

// errProof is what no sealed export has.
var errProof = errors.New("not a sealed export, or not all of it")

// Verify reads a sealed export and verifies it as Keeper.Verify does, without any server. A chain that does not begin with its first seal
// is in Starts. An error means that it could not be read to its end.
func (c Check) Verify(r io.Reader) (Verified, error) {
	x := examination{Check: c, out: Verified{Keys: []Key{}, Heads: []Head{}}, keys: map[int64]ed25519.PublicKey{}, wanted: slices.Clone(c.Sums)}
	lines := json.NewDecoder(r)
	lines.DisallowUnknownFields()
	for {
		var line ProofLine
		if err := lines.Decode(&line); err != nil {
			return x.out, fmt.Errorf("%w: %w", errProof, err)
		}
		if line.End == nil {
			if err := x.line(&line); err != nil {
				return x.out, err
			}
			continue
		}
		if err := x.close(); err != nil {
			return x.out, err
		}
		x.chain.end()
		if line.End.Seals != x.out.Seals {
			return x.out, fmt.Errorf("%w: it has %d seals of %d", errProof, x.out.Seals, line.End.Seals)
		}
		for _, sum := range x.wanted {
			x.out.Problems++
			x.Report(Finding{Problem: "no seal has the sum " + hex.EncodeToString(sum)})
		}
		return x.out, nil
	}
}

// examination is one Check.Verify: it gathers the rows of a seal until the next line that is none.
type examination struct {
	Check
	out     Verified
	keys    map[int64]ed25519.PublicKey
	wanted  [][]byte
	chain   verifier
	seal    *sealed
	leaves  []leaf
	entries []Entry
}

func (x *examination) line(line *ProofLine) error {
	switch {
	case line.Key != nil && x.seal == nil:
		return x.key(line.Key)
	case line.Seal != nil:
		if err := x.close(); err != nil {
			return err
		}
		s := sealed(*line.Seal)
		x.seal = &s
		return nil
	case line.Event != nil && x.seal != nil:
		row := query.Event(*line.Event)
		x.leaves = append(x.leaves, eventLeaf(&row))
		if x.Entry != nil {
			x.entries = append(x.entries, entryOf(&row))
		}
		return nil
	case line.Batch != nil && x.seal != nil:
		row := query.PullBatch(*line.Batch)
		x.leaves = append(x.leaves, batchLeaf(&row))
		return x.unpack(&row)
	case line.Error != "":
		return fmt.Errorf("%w: the server broke it off: %s", errProof, line.Error)
	}
	return errProof
}

func (x *examination) key(k *Key) error {
	var id int64
	public, err := hex.DecodeString(k.PublicKey)
	if _, scanErr := fmt.Sscan(k.ID, &id); err != nil || scanErr != nil || len(public) != ed25519.PublicKeySize {
		return fmt.Errorf("%w: key %q", errProof, k.ID)
	}
	if len(x.Keys) > 0 && !slices.ContainsFunc(x.Keys, func(trusted []byte) bool { return bytes.Equal(trusted, public) }) {
		return nil // what it has signed will have a problem
	}
	x.keys[id] = public
	x.out.Keys = append(x.out.Keys, *k)
	return nil
}

// unpack keeps the pulls of a batch for Entry. One that cannot be read is one that was changed, or none of ours: its seal says so.
func (x *examination) unpack(b *query.PullBatch) error {
	if x.Entry == nil {
		return nil
	}
	records, err := decode(b.Payload)
	for i := range records {
		x.entries = append(x.entries, records[i].entry(place(b.ID, i)))
	}
	if err != nil && !errors.Is(err, errBatch) {
		return err
	}
	return nil
}

// close verifies the seal whose rows have come.
func (x *examination) close() error {
	s := x.seal
	if s == nil {
		return nil
	}
	stream := Pulls
	if s.Class == Changes {
		stream = Changes
	}
	if x.chain.stream == Pulls && stream == Changes || x.chain.stream == stream && s.Replica < x.chain.before.Replica {
		return fmt.Errorf("%w: its chains are not in their order", errProof)
	}
	if x.chain.stream != stream {
		x.chain.end()
		x.chain = verifier{stream: stream, keys: x.keys, out: &x.out, partial: true}
	}
	good := false
	x.chain.report = func(f Finding) {
		good = f.Problem == ""
		x.Report(f)
	}
	x.chain.next(s, x.leaves)
	x.wanted = slices.DeleteFunc(x.wanted, func(sum []byte) bool { return good && bytes.Equal(sum, s.Sum) })
	entries := x.entries
	x.seal, x.leaves, x.entries = nil, nil, nil
	for i := range entries {
		if !good {
			break
		}
		if err := x.Entry(entries[i]); err != nil {
			return err
		}
	}
	return nil
}
