package audit

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strconv"
	"time"

	"github.com/weir-registry/weir/internal/store/meta/query"
)

// Finding is one line of a verification: a seal that was looked at, and what is wrong with it, if anything is.
type Finding struct {
	Stream  string `json:"stream" doc:"changes or pulls"`
	Replica int64  `json:"replica"`
	Number  int64  `json:"number" doc:"Of the seal, within the chain of the replica"`
	Day     string `json:"day"`
	Events  int64  `json:"events" doc:"Rows that the seal covers"`
	Dropped bool   `json:"dropped,omitempty" doc:"Its rows went by retention; the seal itself is verified"`
	Problem string `json:"problem,omitempty"`
	Row     string `json:"row,omitempty" doc:"Id of the first row that is not what was sealed"`
}

// Verified is what a verification has found out.
type Verified struct {
	Seals    int64  `json:"seals"`
	Events   int64  `json:"events" doc:"Rows that are what was sealed"`
	Dropped  int64  `json:"dropped" doc:"Rows that went by retention"`
	Problems int64  `json:"problems"`
	Keys     []Key  `json:"keys" doc:"That signed"`
	Starts   []Head `json:"starts,omitempty" doc:"Of a sealed export: the seals before the first of those chains that do not begin in it"`
	Heads    []Head `json:"heads" doc:"The last seal of each chain. Note them elsewhere: they show later that nothing was cut off"`
}

// Key is a public key.
type Key struct {
	ID        string    `json:"id"`
	PublicKey string    `json:"public_key" doc:"Ed25519, hexadecimal"`
	CreatedAt time.Time `json:"created_at"`
}

// Head is the end of a chain.
type Head struct {
	Stream  string `json:"stream"`
	Replica int64  `json:"replica"`
	Number  int64  `json:"number"`
	Sum     string `json:"sum" doc:"SHA-256, hexadecimal"`
}

// verifier follows the chains of one stream, seal by seal.
type verifier struct {
	stream string
	keys   map[int64]ed25519.PublicKey
	before sealed // of the same replica

	partial bool // a chain may begin with any of its seals

	out    *Verified
	report func(Finding)
}

const verifySeals = 20

// Verify recomputes every seal and every sealed row. report is called for each seal as it is done. What is not sealed yet, the last
// minutes, is not looked at.
func (k *Keeper) Verify(ctx context.Context, report func(Finding)) (Verified, error) {
	out := Verified{Keys: []Key{}, Heads: []Head{}}
	rows, err := k.db.Read().AuditKeys(ctx)
	if err != nil {
		return out, fmt.Errorf("verify: %w", err)
	}
	keys := map[int64]ed25519.PublicKey{}
	for _, row := range rows {
		keys[row.ID] = row.PublicKey
		out.Keys = append(out.Keys, publicKey(&row))
	}
	for _, stream := range []string{Changes, Pulls} {
		v := verifier{stream: stream, keys: keys, out: &out, report: report}
		if err := k.verifyStream(ctx, &v); err != nil {
			return out, fmt.Errorf("verify %s: %w", stream, err)
		}
	}
	return out, nil
}

func publicKey(row *query.AuditKey) Key {
	return Key{strconv.FormatInt(row.ID, 10), hex.EncodeToString(row.PublicKey), time.UnixMicro(row.CreatedAt).UTC()}
}

func (k *Keeper) verifyStream(ctx context.Context, v *verifier) error {
	for n := verifySeals; n == verifySeals; {
		at := query.NextSealsParams{Replica: v.before.Replica, Number: v.before.Number, N: verifySeals}
		var page []sealed
		rows := map[int64][]leaf{}
		// One view of seals and rows: what is dropped meanwhile is dropped from both.
		err := k.db.Snapshot(ctx, func(q *query.Queries) (err error) {
			if page, err = seals(ctx, q, v.stream, at); err != nil {
				return err
			}
			for i := range page {
				if rows[page[i].ID], err = leaves(ctx, q, v.stream, &page[i]); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		for i := range page {
			v.next(&page[i], rows[page[i].ID])
		}
		n = len(page)
	}
	v.end()
	return nil
}

func seals(ctx context.Context, q *query.Queries, stream string, p query.NextSealsParams) ([]sealed, error) {
	if stream == Changes {
		return q.NextSeals(ctx, p)
	}
	rows, err := q.NextPullSeals(ctx, query.NextPullSealsParams(p))
	out := make([]sealed, len(rows))
	for i := range rows {
		out[i] = sealed(rows[i])
	}
	return out, err
}

// leaves are those of the rows as they are now.
func leaves(ctx context.Context, q *query.Queries, stream string, s *sealed) (out []leaf, err error) {
	if stream == Changes {
		rows, err := q.SealedEvents(ctx, query.SealedEventsParams{First: s.FirstID, Last: s.LastID, SealID: s.ID})
		for i := range rows {
			out = append(out, eventLeaf(&rows[i]))
		}
		return out, err
	}
	rows, err := q.SealedPullBatches(ctx, query.SealedPullBatchesParams{First: s.FirstID, Last: s.LastID, SealID: s.ID})
	for i := range rows {
		out = append(out, batchLeaf(&rows[i]))
	}
	return out, err
}

// next looks at one seal and its rows.
func (v *verifier) next(s *sealed, rows []leaf) {
	f := Finding{Stream: v.stream, Replica: s.Replica, Number: s.Number, Day: s.Day, Events: s.Events, Dropped: s.DroppedAt != 0}
	if s.Replica != v.before.Replica || v.partial && v.before.Number == 0 {
		v.end()
		v.before = sealed{Replica: s.Replica}
		if v.partial && s.Number > 1 {
			v.before.Number, v.before.Sum = s.Number-1, s.Previous
			v.out.Starts = append(v.out.Starts, v.head())
		}
	}
	if f.Problem = v.wrong(s); f.Problem == "" {
		f.Problem, f.Row = differs(s, rows)
	}
	v.out.Seals++
	switch {
	case f.Problem != "":
		v.out.Problems++
	case f.Dropped:
		v.out.Dropped += s.Events
	default:
		v.out.Events += s.Events
	}
	v.report(f)
	v.before = *s
}

// wrong is what is wrong with a seal itself.
func (v *verifier) wrong(s *sealed) string {
	list := sha256.Sum256(s.Leaves)
	key := v.keys[s.KeyID]
	switch {
	case s.Number != v.before.Number+1:
		return fmt.Sprintf("the seals %d to %d are missing", v.before.Number+1, s.Number-1)
	case !bytes.Equal(s.Previous, v.before.Sum):
		return "it does not follow the seal before it"
	case !bytes.Equal(s.Sum, sum(s)):
		return "the seal was changed"
	case len(key) != ed25519.PublicKeySize:
		return "the key that signed it is missing"
	case !ed25519.Verify(key, s.Sum, s.Signature):
		return "the signature is not that of the key"
	case s.DroppedAt == 0 && (!bytes.Equal(list[:], s.LeavesSum) || int64(len(s.Leaves)) != leafSize*s.Events):
		return "the list of rows was changed"
	}
	return ""
}

// differs finds the first row that is not what was sealed.
func differs(s *sealed, rows []leaf) (problem, row string) {
	if s.DroppedAt != 0 {
		if len(rows) > 0 {
			return "rows are there that were dropped", strconv.FormatInt(rows[0].id, 10)
		}
		return "", ""
	}
	for at := 0; at < len(s.Leaves); at += leafSize {
		id := int64(binary.BigEndian.Uint64(s.Leaves[at:])) //nolint:gosec // as it was written
		name := strconv.FormatInt(id, 10)
		switch {
		case len(rows) == 0 || rows[0].id > id:
			return "a row is missing", name
		case rows[0].id < id:
			return "a row was added", strconv.FormatInt(rows[0].id, 10)
		case !bytes.Equal(rows[0].sum[:], s.Leaves[at+8:at+leafSize]):
			return "a row was changed", name
		}
		rows = rows[1:]
	}
	if len(rows) > 0 {
		return "a row was added", strconv.FormatInt(rows[0].id, 10)
	}
	return "", ""
}

// end notes where a chain ends.
func (v *verifier) end() {
	if v.before.Number > 0 {
		v.out.Heads = append(v.out.Heads, v.head())
	}
}

func (v *verifier) head() Head {
	return Head{v.stream, v.before.Replica, v.before.Number, hex.EncodeToString(v.before.Sum)}
}
