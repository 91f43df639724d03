package audit

import (
	"cmp"
	"context"
	cryptorand "crypto/rand"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/weir-registry/weir/internal/event"
	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/metatest"
	"github.com/weir-registry/weir/internal/store/meta/query"
)

func groups(name string) int64 {
	if name == "acme" {
		return 7
	}
	return 0
}

func pull(path string, account int64) event.Request {
	return event.Request{
		At: time.Now().UnixMicro(), Kind: event.Pull, Operation: "manifest", Method: "GET", Status: 200, Bytes: 512, Path: path, Reference: "1.0", Cache: "hit",
		Actor: event.Actor{ID: account, Kind: "user", TokenID: 3, Address: "192.0.2.1", RequestID: "r1"},
	}
}

// stored reads everything that was written.
func stored(t *testing.T, db *meta.DB) (out []record) {
	t.Helper()
	rows, err := db.Read().ListPullBatches(t.Context(), query.ListPullBatchesParams{ID: 1 << 62, Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range rows {
		payload, err := db.Read().GetPullBatch(t.Context(), row.ID)
		if err != nil {
			t.Fatal(err)
		}
		records, err := decode(payload)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, records...)
	}
	slices.SortStableFunc(out, func(a, b record) int { return cmp.Compare(a.At, b.At) })
	return out
}

// What is recorded is found by group, account and time, and its address apart from it.
func TestBatch(t *testing.T) {
	metatest.Run(t, func(t *testing.T, db *meta.DB) {
		trail := New(Options{DB: db, Group: groups})
		ctx, stop := context.WithCancel(t.Context())
		denied := pull("acme/hub/app", 9)
		denied.Kind, denied.Status, denied.Cache, denied.Code, denied.Decision = event.PullDenied, 403, "", "DENIED", map[string]string{"why": "a rule"}
		hit := pull("acme/hub/app", 8)
		hit.At = denied.At - 1
		hit.Decision = map[string]string{"never": "kept for a hit"}
		for _, r := range []event.Request{hit, denied, pull("other/app", 0)} {
			trail.Record(ctx, r)
		}
		stop()
		trail.Run(ctx) // a shutdown writes what is gathered

		records := stored(t, db)
		if len(records) != 3 {
			t.Fatalf("%d records", len(records))
		}
		got := records[1]
		if got.Path != "acme/hub/app" || got.Kind != event.PullDenied || got.Actor.ID != 9 || got.group != 7 || string(got.json) != `{"why":"a rule"}` ||
			got.Actor.RequestID != "r1" || got.Actor.TokenID != 3 || got.Status != 403 || got.count != 1 {
			t.Errorf("stored as %+v", got)
		}
		if len(records[0].json) > 0 {
			t.Error("the decision of a hit is kept")
		}
		address, err := db.Read().GetPullAddress(t.Context(), got.address)
		if err != nil || address != "192.0.2.1" || records[0].address == got.address {
			t.Error("addresses stand by account:", address, err)
		}
		// Refusals have a batch of their own, for they are kept for another time.
		for name, list := range map[string]func() (int, error){
			"group": func() (int, error) {
				rows, err := db.Read().ListGroupPullBatches(t.Context(), query.ListGroupPullBatchesParams{GroupID: 7, BatchID: 1 << 62, Limit: 10})
				return len(rows) - 1, err
			},
			"account": func() (int, error) {
				rows, err := db.Read().ListPrincipalPullBatches(t.Context(), query.ListPrincipalPullBatchesParams{PrincipalID: 9, BatchID: 1 << 62, Limit: 10})
				return len(rows), err
			},
		} {
			if n, err := list(); err != nil || n != 1 {
				t.Error(name, n, err)
			}
		}
	})
}

// flaky is a database that can be stopped, and whose commits can be lost on their way back.
type flaky struct {
	*meta.DB
	down  atomic.Bool
	doubt atomic.Bool
}

var errDown = errors.New("stopped")

func (f *flaky) WriteTelemetry(ctx context.Context, fn func(ctx context.Context, q *query.Queries) error) error {
	if f.down.Load() {
		return errDown
	}
	err := f.DB.WriteTelemetry(ctx, fn)
	if f.doubt.Swap(false) && err == nil {
		return errDown
	}
	return err
}

// However often the database stops, and however much comes meanwhile: what was served is what the trail has, one by one or counted,
// and nothing is there twice.
func TestNothingGoesUnseen(t *testing.T) {
	metatest.Run(t, func(t *testing.T, db *meta.DB) {
		for seed := range uint64(5) {
			dice := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // a test
			before := totals(stored(t, db))
			f := &flaky{DB: db}
			trail := New(Options{DB: f, Group: groups, Room: 64, Wait: time.Nanosecond})
			want := map[string]int64{}
			for range 20 {
				f.down.Store(dice.IntN(2) == 0)
				f.doubt.Store(dice.IntN(3) == 0)
				var wait sync.WaitGroup
				for range dice.IntN(100) {
					r := pull(fmt.Sprintf("acme/hub/%d", dice.IntN(4)), dice.Int64N(3))
					if dice.IntN(5) == 0 {
						r.Kind, r.Cache = event.PullFailed, ""
					}
					want[fmt.Sprint(r.Path, r.Actor.ID, r.Kind)]++
					wait.Go(func() { trail.Record(t.Context(), r) })
				}
				wait.Wait()
				trail.flush(t.Context())
			}
			f.down.Store(false)
			f.doubt.Store(false)
			trail.flush(t.Context())
			got := totals(stored(t, db))
			for key, n := range before {
				if got[key] -= n; got[key] == 0 {
					delete(got, key)
				}
			}
			if diff := gocmp.Diff(want, got); diff != "" {
				t.Fatalf("seed %d: the trail has other pulls than were served:\n%s", seed, diff)
			}
		}
	})
}

// totals adds up records, and checks that each gap tells how much follows.
func totals(records []record) map[string]int64 {
	out := map[string]int64{}
	var gaps, counted int64
	for _, r := range records {
		switch r.Kind {
		case event.Gap:
			gaps += r.count
		case event.PullsCounted:
			counted += r.count
			out[fmt.Sprint(r.Path, r.Actor.ID, r.Reason)] += r.count
		default:
			out[fmt.Sprint(r.Path, r.Actor.ID, r.Kind)]++
		}
	}
	if gaps != counted {
		out["gaps do not add up"] = gaps - counted
	}
	return out
}

// stopped is a database that never writes.
type stopped struct{ ids atomic.Int64 }

func (*stopped) WriteTelemetry(context.Context, func(context.Context, *query.Queries) error) error {
	return errDown
}
func (s *stopped) ID() int64  { return s.ids.Add(1) }
func (*stopped) Replica() int { return 1 }

// clocked is a database that notes when it is written to.
type clocked struct {
	stopped
	at chan time.Time
}

func (c *clocked) WriteTelemetry(context.Context, func(context.Context, *query.Queries) error) error {
	c.at <- time.Now()
	return nil
}

// What is recorded is on its way to the database within a second, a batch of it at once, and at a shutdown all of it.
func TestFlushed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := &clocked{at: make(chan time.Time, 10)}
		trail := New(Options{DB: db, Group: groups})
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			trail.Run(ctx)
			close(done)
		}()
		began := time.Now()
		record := func(n int) {
			for range n {
				trail.Record(ctx, pull("acme/app", 1))
			}
		}
		record(1)
		if took := (<-db.at).Sub(began); took > time.Second {
			t.Errorf("a request was at risk for %s", took)
		}
		began = time.Now()
		record(batchSize * len(trail.parts)) // one part has a page full by then
		if took := (<-db.at).Sub(began); took != 0 {
			t.Errorf("a full batch has waited for %s", took)
		}
		synctest.Wait()
		for len(db.at) > 0 {
			<-db.at
		}
		record(1)
		stop()
		<-done
		if len(db.at) != 1 {
			t.Errorf("a shutdown has written %d batches", len(db.at))
		}
	})
}

// Without room, a hit goes on at once, a miss when there is room or after the longest wait.
func TestOnlyMissesWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		trail := New(Options{DB: &stopped{}, Group: groups, Room: 1, Wait: time.Minute})
		for i := range trail.parts {
			for trail.take(&trail.parts[i], &record{Request: event.Request{Kind: event.Pull}}) {
			}
		}
		began := time.Now()
		trail.Record(t.Context(), pull("acme/a", 1))
		if took := time.Since(began); took != 0 {
			t.Errorf("a hit has waited for %s", took)
		}
		miss := pull("acme/a", 1)
		miss.Cache = "miss"
		trail.Record(t.Context(), miss)
		if took := time.Since(began); took != time.Minute {
			t.Errorf("a miss has waited for %s", took)
		}
		done := make(chan struct{})
		go func() {
			trail.Record(t.Context(), miss)
			close(done)
		}()
		synctest.Wait()
		trail.collect()
		<-done
		if took := time.Since(began); took != time.Minute {
			t.Errorf("a miss has waited until %s although there was room", took)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for i := range trail.parts {
			for trail.take(&trail.parts[i], &record{Request: event.Request{Kind: event.Pull}}) {
			}
		}
		trail.Record(ctx, miss)
		if took := time.Since(began); took != time.Minute {
			t.Errorf("a client that left was waited for until %s", took)
		}
	})
}

// The kinds of what is counted are bounded, and their sum stays exact.
func TestCountsAreBounded(t *testing.T) {
	var p part
	const n = maxCounts + 1000
	for i := range n {
		p.count(&event.Request{At: 5, Kind: event.Pull, Path: fmt.Sprint("acme/", i)})
	}
	if len(p.counts) > maxCounts+1 {
		t.Errorf("%d kinds", len(p.counts))
	}
	g := gap{counts: map[counted]int64{}}
	g.add(&p)
	b := batch{pages: g.pages()[0]}
	records, err := decode(b.encode(nil, nil))
	if err != nil || records[0].Kind != event.Gap || records[0].count != n || len(records) != b.len() {
		t.Errorf("%d records, %v; the gap says %+v", len(records), err, records[0])
	}
}

// What is packed comes out as it was, whatever it is.
func FuzzPage(f *testing.F) {
	id := cryptorand.Text()
	f.Add("acme/hub/app", "1.0", id, "", "192.0.2.1", int64(1), int64(8), 200)
	f.Add("", "", "x", id[:25]+"=", "", int64(-1), int64(0), 0)
	f.Fuzz(func(t *testing.T, path, reference, requestID, decisionID, address string, at, account int64, status int) {
		first := record{Request: pull("acme/hub/app", 8)}
		r := record{Request: event.Request{
			At: at, Kind: event.Pull, Path: path, Reference: reference, Status: status,
			Actor: event.Actor{ID: account, RequestID: requestID, DecisionID: decisionID, Address: address},
		}, until: at, json: []byte(reference)}
		want := []record{first, r, r, first}
		p, keys, groups := &page{}, map[addressKey]int64{}, map[string]int64{"acme": 7}
		for i := range want {
			p.add(&want[i])
		}
		for i, key := range p.addresses {
			keys[key] = int64(i) + 100
		}
		got, err := decode((&batch{pages: []*page{p, p}}).encode(groups, keys))
		if err != nil || len(got) != 2*len(want) {
			t.Fatal(len(got), err)
		}
		slices.SortStableFunc(want, func(a, b record) int { return cmp.Compare(a.At, b.At) })
		for i := range want {
			w, g := want[i], got[2*i]
			if i > 0 && want[i-1].At == w.At || i+1 < len(want) && want[i+1].At == w.At {
				continue // each is in both pages: the order of equals is another
			}
			name, _, _ := strings.Cut(w.Path, "/")
			if (g.address == 0) != (w.Actor.Address == "") || g.group != groups[name] {
				t.Errorf("got %+v, want %+v", g, w)
			}
			w.count, w.Actor.Address, w.group, w.address = 1, "", g.group, g.address
			if diff := gocmp.Diff(w, g, gocmp.AllowUnexported(record{}), cmpopts.EquateEmpty()); diff != "" {
				t.Error(diff)
			}
		}
	})
}

// The ids that we make take 17 bytes of a record; whatever looks like one and is none stays as it is.
func TestPackedIDs(t *testing.T) {
	id := cryptorand.Text()
	for s, want := range map[string]bool{
		id: true, strings.Repeat("A", 26): true, strings.Repeat("7", 26): true, strings.ToLower(id): false, id + "A": false, id[:25]: false,
		id[:25] + "1": false, id[:25] + "8": false, id[:25] + "@": false, id[:25] + "[": false, id[:25] + "\xff": false, "": false,
	} {
		if _, ok := pack(s); ok != want {
			t.Errorf("%q is packed: %v", s, ok)
		}
		p := &page{}
		p.id(s)
		d := decoder{rest: p.buf}
		if got := d.id(); got != s || d.bad || len(d.rest) > 0 || want && len(p.buf) != 1+idPacked {
			t.Errorf("%q comes back as %q", s, got)
		}
	}
}

func FuzzDecode(f *testing.F) {
	p := &page{}
	p.add(&record{Request: pull("acme/hub/app", 8)})
	f.Add((&batch{pages: []*page{p}}).encode(map[string]int64{"acme": 7}, nil))
	f.Add([]byte{batchVersion})
	f.Add([]byte{form1})
	f.Fuzz(func(t *testing.T, payload []byte) {
		records, err := decode(payload)
		if err != nil && records != nil {
			t.Error("records of what is not readable")
		}
	})
}

// A hit may cost a few hundred nanoseconds and no memory: this is all of it but for a batch's way into the database.
func BenchmarkRecord(b *testing.B) {
	for name, n := range map[string]int{"one": 1, "many": 1000} {
		b.Run(name, func(b *testing.B) {
			trail := New(Options{DB: &stopped{}, Group: groups})
			requests := make([]event.Request, n)
			for i := range requests {
				requests[i] = pull(fmt.Sprintf("acme/hub/library/app-%d", i/20), 8)
				requests[i].Reference, requests[i].Actor.RequestID, requests[i].Actor.DecisionID = fmt.Sprint(i), cryptorand.Text(), cryptorand.Text()
			}
			var size, written atomic.Int64
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for i := 0; pb.Next(); i++ {
					r := requests[i%n]
					r.At += int64(i)
					trail.Record(b.Context(), r)
					if i%batchSize == batchSize-1 {
						for i := range trail.parts {
							p := &trail.parts[i]
							p.mu.Lock()
							for _, full := range p.full[0] {
								size.Add(int64(len(full.buf)))
								written.Add(int64(full.n))
								full.empty()
							}
							p.spare, p.full[0], p.bytes, p.n = append(p.spare, p.full[0]...), p.full[0][:0], 0, 0
							p.mu.Unlock()
						}
					}
				}
			})
			b.ReportMetric(float64(size.Load())/float64(max(1, written.Load())), "bytes/request")
		})
	}
}
