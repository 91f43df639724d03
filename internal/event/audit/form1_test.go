package audit

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/weir-registry/weir/internal/event"
	"github.com/weir-registry/weir/internal/store/meta/query"
)

// form1Batch was written by the last build that wrote this form.
func form1Batch(t *testing.T) []byte {
	t.Helper()
	payload, err := os.ReadFile("testdata/form1.batch")
	if err != nil {
		t.Fatal(err)
	}
	return payload
}

// form1Records are what it holds, in their order.
func form1Records() []record {
	const at = 1764000000000000
	robot := event.Actor{ID: 8, TokenID: 81, Kind: "robot", RequestID: "r1", DecisionID: "d1"}
	const image = "acme/hub/library/alpine"
	return []record{
		{Request: event.Request{
			At: at, Kind: event.Pull, Actor: robot, Path: image, Reference: "3.20", Operation: "manifest", Method: "GET",
			Status: 200, Bytes: 1640, Cache: "hit", Member: "docker",
		}, group: 7, address: 70, count: 1},
		{Request: event.Request{
			At: at + 700, Kind: event.PullDenied, Actor: event.Actor{Kind: "anonymous", RequestID: "r3"}, Path: "other/app", Reference: "v1",
			Operation: "manifest", Method: "HEAD", Status: 401, Code: "UNAUTHORIZED",
		}, group: 9, address: 71, count: 1},
		{Request: event.Request{
			At: at + 1500, Kind: event.Pull, Actor: robot, Path: image, Reference: "sha256:aa", Operation: "blob", Method: "GET",
			Status: 200, Bytes: 3 << 20, Cache: "stale", Member: "docker", Reason: "upstream is unreachable",
		}, group: 7, address: 70, count: 1, json: []byte(`{"outcome":"stale"}`)},
		{Request: event.Request{At: at + 2000, Kind: event.Gap, Actor: event.Actor{Kind: "server"}}, until: at + 9000, count: 120},
		{Request: event.Request{
			At: at + 2000, Kind: event.PullsCounted, Actor: event.Actor{ID: 8, Kind: "robot"}, Path: image, Reason: event.Pull,
		}, group: 7, until: at + 9000, count: 120},
	}
}

func TestForm1(t *testing.T) {
	payload := form1Batch(t)
	got, err := decode(payload)
	if diff := gocmp.Diff(form1Records(), got, gocmp.AllowUnexported(record{}), cmpopts.EquateEmpty()); diff != "" || err != nil {
		t.Error(err, diff)
	}
	for n := range len(payload) {
		if records, err := decode(payload[:n]); !errors.Is(err, errBatch) || records != nil {
			t.Fatalf("%d bytes of it are read: %v, %v", n, records, err)
		}
	}
	payload[1+gzipEffort] = 4
	if records, err := decode(payload); !errors.Is(err, errBatch) || records != nil {
		t.Errorf("as of the first builds: %v, %v", records, err)
	}
}

// What an earlier build wrote is in the trail, is sealed, and is in a sealed export like what this build writes.
func TestForm1InTheTrail(t *testing.T) {
	onEach(t, func(t *testing.T, a *archive) {
		records := form1Records()
		row := query.InsertPullBatchParams{
			ID: a.db.ID(), FirstAt: records[0].At, LastAt: records[4].until, Events: int64(len(records)), Payload: form1Batch(t), Class: Pulls,
		}
		row.Replica = replicaOf(row.ID)
		err := a.db.WriteTelemetry(t.Context(), func(ctx context.Context, q *query.Queries) error {
			_, err := q.InsertPullBatch(ctx, row)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		a.sealAll()
		want := map[string]bool{}
		for _, e := range a.all(Query{Stream: Pulls, Limit: 2}) {
			if e.At.Before(a.now.Add(-time.Hour)) {
				want[e.ID] = true
			}
		}
		if len(want) != len(records) {
			t.Errorf("%d entries, want %d", len(want), len(records))
		}
		if v, problem := a.verify(); v.Problems != 0 {
			t.Errorf("%+v, %+v", v, problem)
		}
		export := Check{Entry: func(e Entry) error { delete(want, e.ID); return nil }}
		if v, problems, err := check(export, a.proof(time.Time{}, time.Time{})); err != nil || v.Problems != 0 || len(want) > 0 {
			t.Errorf("%v, %v; not in the export: %v", problems, err, want)
		}
	})
}
