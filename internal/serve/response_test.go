package serve

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// deadlines is a connection that counts how often its write deadline is moved.
type deadlines struct {
	*httptest.ResponseRecorder
	moved int
}

func (d *deadlines) SetWriteDeadline(time.Time) error {
	d.moved++
	return nil
}

// TestWriteDeadlineOfConnection: requests of HTTP/1 share the deadline of their connection, streams of HTTP/2 have their own, and
// a deadline that has been used up to some part is moved.
func TestWriteDeadlineOfConnection(t *testing.T) {
	h := NewFront(Options{Progress: 16 * time.Hour}).Wrap("test", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "x")
	}))
	shared := &connection{}
	serve := func(major int) int {
		r := httptest.NewRequestWithContext(context.WithValue(t.Context(), connectionKey{}, shared), http.MethodGet, "/", nil)
		r.ProtoMajor = major
		w := &deadlines{ResponseRecorder: httptest.NewRecorder()}
		h.ServeHTTP(w, r)
		return w.moved
	}
	for i, c := range []struct {
		major, want int
		used        time.Duration
	}{{1, 1, 0}, {1, 0, 0}, {2, 1, 0}, {2, 1, 0}, {1, 1, time.Hour}, {1, 0, 0}} {
		shared.extended = shared.extended.Add(-c.used)
		if got := serve(c.major); got != c.want {
			t.Errorf("request %d, HTTP/%d: moved %d times, want %d", i, c.major, got, c.want)
		}
	}
}

// TestSetHeader sets more headers than there is room for, and changes one of those in the room in every way.
func TestSetHeader(t *testing.T) {
	const many = 2 * maxValues
	h := NewFront(Options{}).Wrap("test", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for i := range many {
			SetHeader(w, fmt.Sprintf("X-%02d", i), fmt.Sprint(i))
		}
		w.Header().Add("X-01", "more")
		w.Header().Set("X-03", "other")
		SetHeader(w, "X-05", "again")
	}))
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
	for i := range many {
		want := map[int]string{1: "[1 more]", 3: "[other]", 5: "[again]"}[i]
		if want == "" {
			want = fmt.Sprintf("[%d]", i)
		}
		if got := fmt.Sprint(w.Header().Values(fmt.Sprintf("X-%02d", i))); got != want {
			t.Errorf("header %d: %s, want %s", i, got, want)
		}
	}
}
